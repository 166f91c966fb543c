"""What is launched, and what a launcher is: the same for processes of this machine and for a cluster."""

import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from trainer_ext.children import PROGRESS

LOG = "train.log"
PROGRESS_FILE = "progress.jsonl"
PATIENCE = 10  # seconds that a training has to end by itself


@dataclass(frozen=True)
class Job:
    """A command of `trainer-ext` that trains, in a process of its own.

    Attributes:
        words: of the command line, behind `trainer-ext`.
        folder: of the training; the log lies in it, and how far the training is.
        environment: variables that its process has beside those of any other.
        storage: URL of the folder of all trainings, if nodes have no folder in common.
    """

    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    storage: str | None = None

    @property
    def log(self) -> Path:
        """Where the output of the process goes."""
        return self.folder / LOG

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables that are this training's own."""
        return {PROGRESS: str((self.folder / PROGRESS_FILE).absolute()), **self.environment}


class Training(Protocol):
    """A training that was started; as much of `subprocess.Popen` as is needed."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status; `subprocess.TimeoutExpired` if it takes longer."""

    def terminate(self) -> None:
        """Ask it to end: it removes what is half-written."""

    def kill(self) -> None:
        """End it by force."""


class Launcher(Protocol):
    """Starts trainings, `slots` of them at a time."""

    slots: int

    def start(self, job: Job) -> AbstractContextManager[Training]:
        """Start a training; whoever leaves the block before it has ended leaves it running."""


def end(trainings: Iterable[Training]) -> None:
    """End those that still run: first with a signal on which they clean up, then by force."""
    running = [training for training in trainings if training.poll() is None]
    for training in running:
        training.terminate()
    deadline = time.monotonic() + PATIENCE
    for training in running:
        try:
            training.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            training.kill()
