"""Another model takes over, processes die and are replaced: no request is lost."""

import json
import os
import signal
import threading
import time

from tests.conftest import run_script
from tests.inference.conftest import expected_logits, save_model, save_onnx
from tests.serving.conftest import read_reply, running
from tests.serving.test_promises import counter, wait_until
from trainer_ext.tracking.artifacts.store import Store

GOOD = {"text": "good food"}


class Load:
    """Clients that keep their connections, and ask again and again until the block ends."""

    def __init__(self, server, clients: int = 4):
        self.server = server
        self.stop = threading.Event()
        self.replies: list = []
        self.lost: list[Exception] = []
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]

    def ask(self) -> None:
        connection = self.server.connect()
        try:
            while not self.stop.is_set():
                # It connects anew if the server has closed the connection behind its last answer.
                connection.request("POST", "/predict", json.dumps(GOOD))
                self.replies.append(read_reply(connection))
                # Most of the time nothing is on its way: a connection could be closed without a word.
                time.sleep(0.01)
        except Exception as error:
            self.lost.append(error)
        finally:
            connection.close()

    def wait_for_more(self, count: int = 20) -> None:
        """Wait until so many more are answered."""
        enough = len(self.replies) + count
        wait_until(lambda: len(self.replies) >= enough or self.lost)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    @property
    def classes(self) -> set:
        assert not self.lost
        assert {reply.status for reply in self.replies} == {200}
        return {reply.content["pred_class"] for reply in self.replies}


def test_reload_under_load(tmp_path):
    """SIGHUP: the new model answers, and no request fails; a broken one is not taken."""
    folder = save_model(tmp_path / "films")
    with running("--model", folder) as server:
        version = server.get("/info").content["model_sha"]
        with Load(server) as load:
            load.wait_for_more()
            save_onnx(folder / "model.onnx", sign=-1)
            server.signal(signal.SIGHUP)
            server.wait_for("films: version")
            load.wait_for_more()
        assert load.classes == {"pos", "neg"}
        assert server.post(GOOD).content["pred_class"] == "neg"
        assert server.get("/info").content["model_sha"] != version

        (folder / "tokenizer.json").write_text("{}")
        server.signal(signal.SIGHUP)
        server.wait_for("films is not replaced")
        assert server.post(GOOD).content["pred_class"] == "neg"
        assert counter(server, 'trainer_ext_reloads_total{model="films",result="failed"}') == 1


def test_a_moved_alias_is_followed(tmp_path):
    """`artifact:NAME:ALIAS` is looked up anew by each reload."""
    store = Store(tmp_path / "store")
    put(store, save_model(tmp_path / "films"))
    env = {"TRAINER_EXT_ARTIFACTS": str(tmp_path / "store")}
    with running("--model", "artifact:films:best", env=env) as server:
        assert server.post(GOOD).content["pred_class"] == "pos"
        save_onnx(tmp_path / "films" / "model.onnx", sign=-1)
        put(store, tmp_path / "films")
        server.signal(signal.SIGHUP)
        server.wait_for("films: version")
        assert server.post(GOOD).content["pred_class"] == "neg"


def put(store: Store, folder) -> None:
    """Make a folder the newest version, and the best."""
    files = {path.name: path for path in folder.iterdir()}
    store.put("films", files, {}, aliases=["best"])


def test_workers(tmp_path):
    """One is stopped and one is killed; others take their places; all follow SIGHUP, and count together."""
    folder = save_model(tmp_path / "films")
    with running("--model", folder, "--workers", 2, "--num_threads", 1) as server:
        first = server.wait_for("listening")["pid"]
        second = server.wait_for("listening", 2)["pid"]
        with Load(server) as load:
            load.wait_for_more()
            os.kill(first, signal.SIGTERM)
            server.wait_for("listening", 3)
            load.wait_for_more()
        assert load.classes == {"pos"}
        assert counter(server, "trainer_ext_texts_total") == len(load.replies)

        # Requests that a killed process had in its hands cannot be answered by anyone.
        os.kill(second, signal.SIGKILL)
        server.wait_for("listening", 4)
        assert server.post(GOOD).status == 200

        save_onnx(folder / "model.onnx", sign=-1)
        server.signal(signal.SIGHUP)
        server.wait_for("films: version", 2)
        assert server.post(GOOD).content["pred_class"] == "neg"


def save_probe(folder, last: float) -> None:
    """Eight rows of twelve tokens: loading runs six of them."""
    texts = [" ".join(["good"] * 11 if row % 2 else ["bad"] * 11) for row in range(8)]
    rows = []
    for row, text in enumerate(texts):
        ids = [2] + [3 if row % 2 else 4] * 11
        rows.append({"input_ids": ids, "logits": {"onnx": expected_logits(text)}})
    rows[-1]["logits"]["onnx"][0] += last
    probe = {"rows": rows, "tolerance": {"onnx": [1e-3]}}
    (folder / "probe.json").write_text(json.dumps(probe))


def test_all_probe_rows_are_checked_before_it_is_ready(tmp_path):
    """A row that loading leaves out answers otherwise than was proven: not served, and not taken on reload."""
    folder = save_model(tmp_path / "films")
    save_probe(folder, 0)
    with running("--model", folder) as server:
        assert server.get("/ready").content == {"status": "ready", "probes": {"films": "proven"}}
        assert server.get("/info").content["models"][0]["probe"][0]["rows"] == 8
        save_probe(folder, 1)
        server.signal(signal.SIGHUP)
        assert "answers otherwise" in server.wait_for("films is not replaced")["message"]
        assert server.get("/ready").content["probes"] == {"films": "proven"}
    done = run_script("serve.py", "--model", folder, "--port", "0", "--provider", "cpu", real=True)
    assert done.returncode == 2
    assert "model.onnx answers otherwise on this machine than was proven" in done.stderr
    with running("--model", folder, "--on_mismatch", "ignore") as server:
        assert server.get("/ready").content["probes"] == {"films": "differs"}
