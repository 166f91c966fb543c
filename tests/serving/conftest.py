"""A real server in a process of its own, on a free port, with models that are computed by hand."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import ROOT
from tests.inference.conftest import save_model

START_SECONDS = 60


class Reply(NamedTuple):
    """A response: `content` is its JSON, or its text."""

    status: int
    content: Any
    headers: dict


class Server:
    """`serve.py` with some flags, until it is stopped."""

    def __init__(self, *flags, env: dict | None = None, launcher: Sequence[str] = ()):
        self.lines: list[dict] = []
        command = [sys.executable, *launcher, "serve.py", "--port", "0", "--provider", "cpu"]
        command += map(str, flags)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        environment.pop("TRAINER_EXT_API_KEY", None)
        environment.update(env or {})
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.reader = Thread(target=self.read_log, daemon=True)
        self.reader.start()
        self.port = self.wait_for("listening")["port"]

    def read_log(self) -> None:
        """Take every line from the server as it comes: a full pipe would stop it."""
        for text in self.process.stderr:
            is_json = text.startswith("{")
            self.lines.append(json.loads(text) if is_json else {"message": text})

    def wait_for(self, word: str, count: int = 1) -> dict:
        """Wait until so many messages of the log begin with a word, and return the last of them."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            found = [line for line in list(self.lines) if line["message"].startswith(word)]
            if len(found) >= count:
                return found[count - 1]
            assert self.reader.is_alive() or self.process.poll() is None, self.lines
            time.sleep(0.01)
        raise AssertionError(f"no line {word!r}: {self.lines}")

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def request(self, method: str, path: str, body: Any = None, headers: dict | None = None):
        """Send one request on a connection of its own."""
        connection = self.connect()
        raw = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        try:
            connection.request(method, path, raw, headers or {})
            return read_reply(connection)
        finally:
            connection.close()

    def get(self, path: str, **headers) -> Reply:
        return self.request("GET", path, headers=headers)

    def post(self, body: Any, path: str = "/predict", **headers) -> Reply:
        return self.request("POST", path, body, headers)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; returns the exit status when all of the log is read."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        status = self.process.wait(20)
        self.reader.join()
        return status


def read_reply(connection: http.client.HTTPConnection) -> Reply:
    response = connection.getresponse()
    text = response.read().decode()
    headers = {name.lower(): value for name, value in response.getheaders()}
    is_json = headers.get("content-type") == "application/json"
    return Reply(response.status, json.loads(text) if is_json else text, headers)


@contextmanager
def running(*flags, env: dict | None = None, launcher: Sequence[str] = ()):
    """A server for the length of a block; it has to stop by itself then."""
    server = Server(*flags, env=env, launcher=launcher)
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stderr.close()


def at_once(call: Callable, items: Sequence) -> list:
    """Call a function for all items at the same time; returns the results in order."""
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(call, items))


def save_slow_model(folder: Path, products: int = 12, size: int = 1000) -> Path:
    """The same model, each run of which multiplies large matrices for some tenths of a second first."""
    save_model(folder)
    path = folder / "model.onnx"
    model = onnx.load(path)
    graph = model.graph
    graph.initializer.append(
        numpy_helper.from_array(np.full((size, size), 1e-3, dtype=np.float32), "matrix")
    )
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.float32), "nothing"))
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["matrix", "largest"], ["product_0"]),
    ]
    for number in range(products):
        names = [f"product_{number}", "matrix"]
        nodes.append(helper.make_node("MatMul", names, [f"product_{number + 1}"]))
    nodes += [
        helper.make_node("ReduceMax", [f"product_{products}"], ["peak"], keepdims=0),
        helper.make_node("Mul", ["peak", "nothing"], ["zero"]),
        helper.make_node("Add", ["fast", "zero"], ["logits"]),
    ]
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == "logits":
                node.output[place] = "fast"
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return folder


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory) -> Path:
    return save_slow_model(tmp_path_factory.mktemp("slow") / "slow")
