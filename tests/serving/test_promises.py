"""The promises of docs/serving.md, each with a fault: too many, too slow, gone, stopped, broken."""

import json
import os
import signal
import socket
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.inference.conftest import save_model
from tests.serving.conftest import at_once, running
from tests.serving.test_predict import RUNS

FOUR = {"texts": ["good", "bad", "dull", "food"]}


@pytest.fixture(scope="module")
def slow(slow_model):
    """A server that takes some tenths of a second a text, one text at a time, and lets four wait."""
    flags = ["--batch_size", 1, "--num_threads", 1, "--max_queue", 4, "--max_texts", 4]
    with running("--model", slow_model, *flags) as server:
        yield server


def counter(server, name: str) -> float:
    """The value of one line of /metrics."""
    lines = server.get("/metrics").content.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def wait_until(condition, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def open_request(server, body: dict) -> socket.socket:
    """Send a request, and leave its answer unread."""
    raw = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(raw))
    client.sendall(raw)
    return client


def test_back_pressure(slow):
    """More than fit are turned away with Retry-After; all that are accepted are answered."""
    replies = at_once(lambda _: slow.post({"text": "good"}), range(12))
    statuses = [reply.status for reply in replies]
    assert set(statuses) == {200, 503} and statuses.count(200) >= 4
    for reply in replies:
        if reply.status == 503:
            assert reply.headers["retry-after"] == "1"
            assert reply.content["error_type"] == "Overloaded"
        else:
            assert reply.content["pred_class"] == "pos"
    assert slow.get("/health").content["models"]["slow"]["waiting"] == 0


def test_a_client_that_goes_away_frees_its_places(slow):
    """While one of its texts runs, three wait; they are never run."""
    before = counter(slow, "trainer_ext_texts_total")
    client = open_request(slow, FOUR)
    wait_until(lambda: counter(slow, "trainer_ext_queue_texts") == 3)
    assert slow.post(FOUR).status == 503
    client.close()
    wait_until(lambda: counter(slow, "trainer_ext_queue_texts") == 0)
    assert slow.post(FOUR).status == 200
    assert counter(slow, "trainer_ext_texts_total") - before == 1 + 4


def test_time_out(slow_model):
    """Of the model, and of a client that does not send its body; what waits is given up."""
    flags = ["--batch_size", 1, "--num_threads", 1, "--request_timeout", 0.3]
    with running("--model", slow_model, *flags) as server:
        status, content, _ = server.post({"texts": ["good"] * 20})
        assert status == 504 and content["error_type"] == "Timeout"
        assert counter(server, "trainer_ext_queue_texts") == 0
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n{")
            assert client.recv(1000).startswith(b"HTTP/1.1 504")


def test_requests_in_hand_are_bounded(slow_model):
    """Two that send their bodies slowly are as many as fit; when their time is up, others are let in."""
    with running("--model", slow_model, "--max_requests", 2, "--request_timeout", 1) as server:
        clients = []
        for _ in range(2):
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n{")
            clients.append(client)
        # Until the server has read their headers, this one may be first.
        wait_until(lambda: server.post({"text": "good"}).status == 503)
        wait_until(lambda: server.post({"text": "good"}).status == 200)
        for client in clients:
            assert client.recv(1000).startswith(b"HTTP/1.1 504")
            client.close()


def test_float_texts_that_wait_run_together(slow_model):
    """Twelve at the same time take fewer runs; each has its own answer."""
    texts = ["good", "bad", "good good good"] * 4
    with running("--model", slow_model, "--num_threads", 1) as server:
        replies = at_once(lambda text: server.post({"text": text}), texts)
        assert counter(server, "trainer_ext_batch_texts_count") < 12
        assert counter(server, "trainer_ext_batch_texts_sum") == 12
    for text, reply in zip(texts, replies, strict=True):
        assert reply.content["text"] == text
        assert reply.content["pred_class"] == ("neg" if text == "bad" else "pos")


@pytest.mark.parametrize(
    "workers, is_terminal", [pytest.param(1, False, marks=pytest.mark.slow), (2, True)]
)
def test_graceful_stop(slow_model, workers, is_terminal):
    """What was accepted before SIGTERM is answered, nobody new is let in; so with Ctrl-C, which all processes get."""
    flags = ["--batch_size", 1, "--num_threads", 1, "--workers", workers]
    with running("--model", slow_model, *flags) as server:
        replies: list = []
        body = {"texts": ["good"] * 3}
        clients = [
            threading.Thread(target=lambda: replies.append(server.post(body))) for _ in range(4)
        ]
        for client in clients:
            client.start()
        wait_until(lambda: counter(server, "trainer_ext_queue_texts") >= 12 - 2 * workers)
        if is_terminal:
            os.killpg(server.process.pid, signal.SIGINT)
        else:
            server.signal(signal.SIGTERM)
        server.wait_for("stopping")
        wait_until(lambda: not accepts(server))
        for client in clients:
            client.join()
        assert [reply.status for reply in replies] == [200] * 4
        # By itself: another signal would come while it ends.
        assert server.process.wait(20) == 0


def accepts(server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port)).close()
    except OSError:
        return False
    return True


def test_a_bad_text_fails_alone(tmp_path):
    """Texts that the model answers with NaN, between others that share their batches."""
    folder = save_model(tmp_path / "films")
    model = onnx.load(folder / "model.onnx")
    (table,) = (tensor for tensor in model.graph.initializer if tensor.name == "table")
    rows = numpy_helper.to_array(table).copy()
    rows[5] = np.nan  # "dull"
    table.CopyFrom(numpy_helper.from_array(rows, "table"))
    onnx.save(model, folder / "model.onnx")
    texts = ["good food", "dull", "bad staff"] * 8
    with running("--model", folder) as server:
        replies = at_once(lambda text: server.post({"text": text}), texts)
        for text, (status, content, _) in zip(texts, replies, strict=True):
            if text == "dull":
                assert status == 500 and content["error_type"] == "Backend"
                assert "not finite" in content["error"]
            else:
                assert status == 200 and content["text"] == text
        status, content, _ = server.post({"texts": texts[:3]})
        assert status == 500 and content["error"].startswith("text 1: ")
        assert server.get("/health").status == 200


def test_answers_do_not_depend_on_neighbours():
    """INT8, to the last digit: alone, and among others from many clients."""
    texts = [f"play some jazz {'number ' * number}{number}" for number in range(16)]
    with running("--model", RUNS / "onnx_joint") as server:
        alone = [server.post({"text": text}).content for text in texts]
        together = at_once(lambda text: server.post({"text": text}).content, texts)
        assert together == alone
        assert server.post({"texts": texts}).content == alone
