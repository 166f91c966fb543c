"""A server that is down, broken or cut off never ends a training; what did not arrive is synced later."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.tracking.conftest import client, train_one
from tests.wandb_server import WandbServer
from trainer_ext.tracking.artifacts import upload
from trainer_ext.tracking.artifacts.store import Store


def sync(printed: str) -> None:
    """Run the last command that was printed, as its user would."""
    command = re.findall(r"`wandb (sync .+?)`", printed)[-1].split()
    done = subprocess.run(
        [sys.executable, "-m", "wandb", *command], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def check_whole(server: WandbServer, folder) -> None:
    """One run with its history and summary, and the artifact with the model's bytes, are on the server."""
    metrics = json.loads((folder / "metrics.json").read_text())
    (run,) = server.runs.values()
    assert run["displayName"] == folder.name and run["jobType"] == "train"
    assert run["summary"]["eval_f1_macro"] == metrics["eval_f1_macro"]
    assert [row["train/global_step"] for row in run["history"] if "train/loss" in row] == [2, 4, 6]
    assert (server.alias(folder.name, "latest"), server.alias(folder.name, "best")) == (0, 0)
    assert (
        server.contents(folder.name, 0)["model.safetensors"]
        == (folder / "model.safetensors").read_bytes()
    )


def trained(home, files, printed) -> str:
    """Train `home/model` and check that it ended well; returns what was printed."""
    metrics = train_one(files, home / "model")
    assert metrics == json.loads((home / "model/metrics.json").read_text())
    assert (home / "model/model.safetensors").is_file()
    assert str(Store().get("model:best")) == "model:v0", "the local store has it in any case"
    return printed.readouterr().err


@pytest.fixture
def fresh():
    with WandbServer() as server:
        yield server


def test_an_offline_run_synced_later_arrives_whole(fresh, topic_files, tmp_path, capfd):
    with client(fresh, tmp_path, WANDB_MODE="offline"):
        printed = trained(tmp_path, topic_files, capfd)
        assert "W&B run kept offline" in printed and not fresh.requests
        os.environ["WANDB_MODE"] = "online"
        sync(printed)
    check_whole(fresh, tmp_path / "model")


def test_nothing_listens(topic_files, tmp_path, capfd):
    """Found out at once, without `wandb.init`'s waiting; later it arrives at a server that is there."""
    with WandbServer() as gone:
        pass
    with client(gone, tmp_path):
        printed = trained(tmp_path, topic_files, capfd)
    assert (
        "W&B does not answer" in printed
        and "going on offline" in printed
        and "W&B run kept offline" in printed
    )
    with WandbServer() as back, client(back, tmp_path):
        sync(printed)
        check_whole(back, tmp_path / "model")


def during_upload(answer):
    return lambda path: answer if path.startswith(("blob", "graphql/Commit")) else None


def after_the_start(answer):
    state = {"seen": 0}

    def fault(path):
        state["seen"] += path.endswith("file_stream")
        return answer if state["seen"] else None

    return fault


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(during_upload(500), id="500 at upload"),
        pytest.param(during_upload("cut"), id="cut at upload", marks=pytest.mark.slow),
        pytest.param(after_the_start(500), id="500 from the first loss on", marks=pytest.mark.slow),
        pytest.param(
            after_the_start("cut"), id="cut from the first loss on", marks=pytest.mark.slow
        ),
    ],
)
def test_a_server_that_breaks(fresh, topic_files, tmp_path, capfd, fault):
    """The training ends well and says how to sync; then everything is there."""
    fresh.fault = fault
    with client(fresh, tmp_path):
        printed = trained(tmp_path, topic_files, capfd)
        assert "W&B did not take" in printed and "`wandb sync " in printed
        fresh.fault = lambda path: None
        sync(printed)
    check_whole(fresh, tmp_path / "model")


def test_a_server_of_500s_from_the_start(fresh, topic_files, tmp_path, capfd):
    fresh.fault = lambda path: 500
    with client(fresh, tmp_path, WANDB_INIT_TIMEOUT="2"):
        printed = trained(tmp_path, topic_files, capfd)
    assert "going on offline" in printed and "W&B run kept offline" in printed


def test_best_moves_and_identical_content_makes_no_version(fresh, tmp_path):
    """As in the local store; `best` is judged by what the server has, which may be more than this machine."""
    import wandb

    with client(fresh, tmp_path):
        run, seen = wandb.init(), []
        for value, content in ((0.5, "a"), (0.7, "b"), (0.6, "c"), (0.5, "a"), (0.8, "d")):
            store = Store(tmp_path / f"machine-{content}")  # each knows of its own version only
            (tmp_path / "file").write_text(content)
            metadata = {"metric_name": "f1", "metric_value": value, "greater_is_better": True}
            version = store.put("m", {"file": tmp_path / "file"}, metadata)
            upload.upload(store, version, run)
            seen.append([fresh.alias("m", alias) for alias in ("latest", "best")])
        run.finish()
    assert seen == [[0, 0], [1, 1], [2, 1], [0, 1], [3, 3]]
    assert len(fresh.collections["m"]["versions"]) == 4


def test_best_fold_moves(fresh, tmp_path):
    """It is on the best version of one fold only."""
    import wandb

    names = [f"g-fold-{k}" for k in range(3)]
    with client(fresh, tmp_path):
        run, store = wandb.init(), Store()

        def put(fold, value):
            (tmp_path / "file").write_text(f"{fold} {value}")
            metadata = {"metric_name": "rmse", "metric_value": value, "greater_is_better": False}
            upload.upload(store, store.put(names[fold], {"file": tmp_path / "file"}, metadata), run)
            upload.mark_best_fold(run, names)
            return [fresh.alias(name, "best-fold") for name in names]

        assert put(0, 0.5) == [0, None, None]
        assert put(1, 0.6) == [0, None, None]
        assert put(2, 0.4) == [None, None, 0]
        assert put(1, 0.3) == [None, 1, None]
        assert put(1, 0.9) == [None, 1, None]
        run.finish()


def test_a_resumed_training_is_one_run(fresh, topic_files, tmp_path, capfd):
    """Trained offline, resumed offline, synced by the command that is printed last: one run with both parts."""
    with client(fresh, tmp_path, WANDB_MODE="offline"):
        train_one(topic_files, tmp_path / "model")
        train_one(topic_files, tmp_path / "model", max_steps=9, resume_from_checkpoint="true")
        os.environ["WANDB_MODE"] = "online"
        sync(capfd.readouterr().err)
    (run,) = fresh.runs.values()
    assert [row["train/global_step"] for row in run["history"] if "train/loss" in row] == [
        2,
        4,
        6,
        8,
    ]
