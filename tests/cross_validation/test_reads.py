"""Rows once: K folds read the training file at most K + 1 times, over all their processes."""

import csv
import os

import pytest

from tests.conftest import run_ok
from tests.cross_validation.conftest import TINY, topic_rows
from trainer_ext.arguments.recipe import to_tokens

FOLDS = 3
# Python runs a module of this name when it starts, in every process of the run.
WATCH = """
import os, sys

def hook(event, args):
    if event != "open" or not isinstance(args[0], (str, bytes, os.PathLike)):
        return
    if os.path.basename(os.fsdecode(args[0])) == "watched.csv":
        log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, f"{os.getpid()}\\n".encode())
        os.close(log)

sys.addaudithook(hook)
"""


@pytest.mark.slow
def test_folds_read_the_training_file_once_a_process(tmp_path):
    """The first process to divide it, each fold's to train on it; whoever else needs rows is handed them."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    rows = topic_rows(36)
    with open(tmp_path / "watched.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    flags = TINY | {"train_file": str(tmp_path / "watched.csv"), "folds": FOLDS, "max_steps": 2}
    flags["output_dir"] = str(tmp_path / "cv")
    log = tmp_path / "reads.log"
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    run_ok("train.py", *to_tokens(flags), env={"PYTHONPATH": paths, "WATCH_LOG": str(log)})
    readers = log.read_text().split()
    assert len(readers) <= FOLDS + 1
    assert len(set(readers)) == FOLDS + 1, "the hook sees the parent and every fold"
