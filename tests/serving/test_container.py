"""The steps of the Dockerfile, each as it stands there, in a fresh environment instead of a container."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.inference.conftest import save_model

NO_REGISTRY = re.compile("No matching distribution|Could not find a version|establish a new conn")


def steps() -> list[tuple[str, str]]:
    """The instructions of the first stage: (`COPY`, `a b target`), (`RUN`, command)."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stage = text.split("\nFROM ")[1]
    return re.findall(r"^(COPY|RUN) (.*)$", stage, re.MULTILINE)


@pytest.mark.slow
def test_its_steps_make_a_server_without_torch(tmp_path):
    """Installed as the container is, without a shell of its own: it gets ready and answers."""
    source, venv = tmp_path / "src", tmp_path / "venv"
    source.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = (
        f"{venv}/bin{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    )
    done = 0
    for instruction, rest in steps():
        if instruction == "COPY":
            *names, target = rest.split()
            for name in names:
                copy(ROOT / name, source / target)
            continue
        # The compiler is there, or the pure Python way is taken.
        if "apt-get" in rest:
            continue
        command = rest.replace("/venv", str(venv))
        ran = subprocess.run(
            ["sh", "-c", command], cwd=source, env=environment, capture_output=True, text=True
        )
        if ran.returncode and NO_REGISTRY.search(ran.stderr):
            pytest.skip("no package registry is in reach")
        assert ran.returncode == 0, ran.stderr[-2000:]
        done += 1
    assert done == 3
    check_server(venv, save_model(tmp_path / "films"), environment)


def copy(path: Path, target: Path) -> None:
    """Copy a file into a folder, or a folder as the target."""
    if path.is_dir():
        shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    else:
        shutil.copy(path, target)


def check_server(venv: Path, model: Path, environment: dict[str, str]) -> None:
    """Start the command that the container starts, wait until it is healthy, and ask it."""
    has_torch = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('pip'))"
    found = subprocess.check_output([venv / "bin/python", "-c", has_torch], env=environment)
    assert found.split() == [b"None", b"None"]
    command = [venv / "bin/trainer-ext", "serve", "--model", model, "--port", "0"]
    server = subprocess.Popen(
        command, env=environment, cwd=model, stderr=subprocess.PIPE, text=True
    )
    try:
        port = port_of(server)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", json.dumps({"text": "good food"}).encode()
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.loads(response.read())["status"] == 200
    finally:
        server.terminate()
        server.wait(30)


def port_of(server: subprocess.Popen) -> int:
    """The port in the line that says where it listens."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = re.search(r"127\.0\.0\.1:(\d+)", server.stderr.readline())
        if found:
            return int(found[1])
    raise AssertionError("it does not listen")
