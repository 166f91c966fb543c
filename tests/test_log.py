"""What commands note, and where: one line each, on standard error."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY_WITH_A_HANDLER = """
import logging
from trainer_ext import log
log.configure()
logging.basicConfig(level=logging.INFO)
logging.getLogger("trainer_ext.export.run").info("a note")
logging.getLogger("trainer_ext.export.run").warning("what may be wrong")
"""


def test_a_note_is_printed_once():
    """Libraries give the root logger a handler of their own (onnxruntime's quantiser does, on import)."""
    command = [sys.executable, "-c", LIBRARY_WITH_A_HANDLER]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.splitlines() == ["a note", "warning: what may be wrong"]
    assert not done.stdout
