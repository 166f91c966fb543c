"""The API key, the log, and command lines that are refused."""

import json
import socket

import pytest

from tests.conftest import run_script
from tests.inference.conftest import save_model
from tests.serving.conftest import running
from trainer_ext.cli import serve
from trainer_ext.errors import RunError

KEY = "k-secret-123"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("access") / "films")


def test_api_key(films, tmp_path):
    """From a file: without it nothing but the probes answers; neither key nor texts are logged."""
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    with running("--model", films, "--api_key_file", file) as server:
        for headers in ({}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": KEY}):
            for path in ("/predict", "/v1/classify"):
                reply = server.post({"text": "good"}, path, **headers)
                assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
            assert server.get("/metrics", **headers).status == 401
        assert server.get("/health").status == server.get("/ready").status == 200
        good = server.post({"text": "good staff"}, Authorization=f"Bearer {KEY}")
        assert good.status == 200
    log = json.dumps(server.lines)
    assert KEY not in log and "staff" not in log


def test_api_key_of_the_environment_and_logged_texts(films):
    """The log has texts if it is asked to; each line is JSON."""
    with running(
        "--model", films, "--log_texts", "true", env={"TRAINER_EXT_API_KEY": KEY}
    ) as server:
        assert server.post({"text": "good"}).status == 401
        reply = server.post({"text": "good staff"}, Authorization=f"bearer {KEY}")
        assert reply.status == 200
    (line,) = (line for line in server.lines if line.get("status") == 200)
    assert line["text"] == ["good staff"] and line["route"] == "/predict"
    assert line["request_id"] == reply.headers["x-request-id"]
    assert line["texts"] == 1 and line["tokens"] == 3 and line["inference_ms"] > 0


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model", "{films}", "--model", "x/films"], "are both called films"),
        (["--model", "no/such/folder"], "does not exist"),
        (
            ["--model", "{films}", "--max_texts", "9", "--max_queue", "8"],
            "is more than --max_queue",
        ),
        (["--model", "{films}", "--api_key_file", "/dev/null"], "is empty"),
        (["--model", "{films}", "--port", "{taken}"], "--port"),
        (["--model", "{films}", "--workers", "2", "--file_name", "x.onnx"], "has no x.onnx"),
    ],
)
def test_refused_command_lines(films, flags, message):
    """One line, exit status 2, also of several processes."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = {"films": films, "taken": taken.getsockname()[1]}
        if "--port" not in flags:
            flags = [*flags, "--port", "0"]
        done = run_script("serve.py", *[flag.format(**words) for flag in flags], real=True)
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_a_missing_package_is_named(films, monkeypatch):
    """With the extra that brings it."""
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"fastapi is not installed: pip install -e .*serve"):
        serve.main(["--model", str(films)])
