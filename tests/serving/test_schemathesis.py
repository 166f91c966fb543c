"""Schemathesis reads the server's own description and sends what it allows, what it nearly allows, and the examples."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inference.conftest import save_model
from tests.serving.conftest import running
from tests.serving.test_page import RUNS, add_documents

pytestmark = pytest.mark.slow

OPERATIONS = 9  # those of /openapi.json


def test_whatever_the_description_allows_is_answered_as_it_says(tmp_path):
    """No 500, no status or form that is not described, nothing taken that it forbids."""
    films = save_model(tmp_path / "films")
    add_documents(films)
    models = ["--model", f"films={films}", "--model", f"commands={RUNS / 'onnx_joint'}"]
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program is not None
    with running(*models) as server:
        url = f"http://127.0.0.1:{server.port}/openapi.json"
        # One seed: a failure comes again.
        flags = ["--seed", "1", "--max-examples", "15", "--generation-database", "none"]
        # It keeps files where it runs.
        done = subprocess.run(
            [program, "run", url, *flags], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
        assert f"Tested: {OPERATIONS}" in done.stdout
        assert server.get("/health").status == 200
