"""The container's packages are enough to serve; the clients of `examples/` get answers."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.inference.conftest import save_model
from tests.inference.test_three_packages import WITHOUT, missing_modules
from tests.serving.conftest import running

CLIENTS = ROOT / "examples/clients"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """With the packages of docker/serve.txt, and what they bring."""
    folder = save_model(tmp_path_factory.mktemp("light") / "films")
    installed = (ROOT / "docker/serve.txt").read_text(encoding="utf-8").split()
    missing = missing_modules(installed)
    assert {"torch", "transformers", "pandas", "pyarrow", "scipy", "sklearn"} <= set(missing)
    launcher = ["-c", WITHOUT, ",".join(missing)]
    with running("--model", folder, launcher=launcher) as server:
        yield server


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "predict.sh"],
        [sys.executable, "predict.py"],
        ["node", "predict.mjs"],
    ],
    ids=["curl", "python", "javascript"],
)
def test_clients(server, command):
    """As examples/clients/README.md calls them."""
    program, script = command
    if shutil.which(program) is None or (program == "sh" and shutil.which("curl") is None):
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [program, CLIENTS / script, 'a "good" \\ food'],
        env={**os.environ, "SERVER": f"http://127.0.0.1:{server.port}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["text"] == 'a "good" \\ food' and answer["status"] == 200


def test_python_client_says_what_was_refused(server):
    """The error of the server, and a status of its own."""
    done = subprocess.run(
        [sys.executable, CLIENTS / "predict.py"],
        env={**os.environ, "SERVER": f"http://127.0.0.1:{server.port}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "texts: List should have at least 1 item" in done.stderr


def test_the_container_is_made_of_what_is_there():
    """Files that it copies exist and are sent to the builder; its packages have tested versions."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    for name in (ROOT / "docker/serve.txt").read_text(encoding="utf-8").split():
        assert f"\n{name}==" in pins
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(
        r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert len(copied) == 3
    for path in " ".join(copied).split():
        assert (ROOT / path).exists() and f"!{path.split('/')[0]}" in sent


def test_every_promise_names_tests_that_exist():
    """The table of docs/serving.md."""
    page = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    promises = page.partition("## What it promises")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    written = "".join(path.read_text() for path in (ROOT / "tests/serving").glob("test_*.py"))
    assert len(rows) >= 12
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row)
        assert names and all(f"def {name}(" in written for name in names), row
