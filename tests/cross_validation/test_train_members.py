"""Processes of folds: they end with their parent, and share out the GPUs."""

import os
import queue
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
import torch

from trainer_ext import children
from trainer_ext.cross_validation.launchers import base, process
from trainer_ext.cross_validation.launchers.base import Job
from trainer_ext.cross_validation.side_by_side import SideBySide
from trainer_ext.errors import Terminated, raise_terminated, run_main


@pytest.fixture
def sigterm():
    """SIGTERM as `run_main` takes it."""
    before = signal.signal(signal.SIGTERM, raise_terminated)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_a_script_in_one_line(capsys, sigterm):
    """As Ctrl-C does: what a `finally` removes is removed."""
    done = []

    def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            done.append(True)

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 143 and done
    assert capsys.readouterr().err == "error: ended by SIGTERM\n"


def test_sigterm_to_the_parent_ends_the_trainings(tmp_path, sigterm):
    """They went on, and held their folders: the next start was refused."""
    started = queue.Queue()

    class Sleeping:
        slots = 2

        @contextmanager
        def start(self, job):
            process = subprocess.Popen(["sleep", "60"])
            started.put(process)
            yield process

    jobs = {name: Job((), tmp_path / name) for name in ("fold-0", "fold-1", "fold-2")}

    def terminate() -> None:
        children.extend(started.get() for _ in range(2))
        os.kill(os.getpid(), signal.SIGTERM)

    children: list[subprocess.Popen] = []
    threading.Thread(target=terminate).start()
    with pytest.raises(Terminated):
        SideBySide(Sleeping(), str).train(jobs)
    assert [child.poll() for child in children] == [-signal.SIGTERM] * 2 and started.empty()


def test_a_process_that_does_not_end_is_killed(monkeypatch):
    """After some patience."""
    monkeypatch.setattr(base, "PATIENCE", 0.2)
    deaf = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"],
        stdout=subprocess.PIPE,
    )
    deaf.stdout.readline()
    base.end([deaf])
    assert deaf.wait(5) == -signal.SIGKILL


def test_a_child_ends_when_its_parent_is_gone(monkeypatch):
    """Whatever ended it: SIGKILL tells nobody."""
    killed, parents = threading.Event(), iter([7, 7, 1])
    monkeypatch.setenv(children.PARENT, "7")
    monkeypatch.setattr(children, "LOOK_AGAIN", 0)
    monkeypatch.setattr(children.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(
        children.os, "kill", lambda pid, sent: sent == signal.SIGTERM and killed.set()
    )
    children.end_with_parent()
    assert killed.wait(5)
    assert children.PARENT not in os.environ, (
        "a process that the child starts is not of that parent"
    )
    children.end_with_parent()  # outside folds: nothing to watch


@pytest.mark.parametrize(
    "named, count, workers, expected",
    [
        (None, 0, 2, [None, None]),
        (None, 2, 2, ["0", "1"]),
        (None, 2, 3, ["0", "1", "0"]),
        (None, 4, 2, ["0", "1"]),
        ("3,5", 2, 2, ["3", "5"]),
        ("GPU-8f, GPU-a1", 2, 1, ["GPU-8f"]),
        ("", 0, 1, [None]),
        ("-1", 0, 1, [None]),
    ],
)
def test_workers_share_out_the_gpus(monkeypatch, capsys, named, count, workers, expected):
    """All took the first one, or, where several are visible to one process, DataParallel."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    gpus = process.shared_gpus(use_cpu=False, workers=workers)
    assert gpus == expected
    assert ("--num_fold_workers" in capsys.readouterr().err) == (count > workers)
    seen = process.child_environment(workers, gpus[-1]).get("CUDA_VISIBLE_DEVICES")
    assert seen == (gpus[-1] if gpus[-1] is not None else named)
    assert process.shared_gpus(use_cpu=True, workers=workers) == [None] * workers
