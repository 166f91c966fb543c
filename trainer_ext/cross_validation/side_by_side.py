"""Several trainings side by side, each in a process of its own: what one leaks or breaks does not reach the others."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer_ext.cross_validation.launchers.base import Job, Launcher, Training, end
from trainer_ext.errors import UserError

logger = logging.getLogger(__name__)


class SideBySide:
    """Trains, as many at a time as the launcher has room for; a crash of one leaves the others.

    Args:
        launcher: starts them.
        result_of: says in a few words what a finished training has reached, for the log.
    """

    def __init__(self, launcher: Launcher, result_of: Callable[[Job], str]):
        self.launcher = launcher
        self.result_of = result_of
        self.running: dict[str, Training] = {}
        # Set when no other training should start.
        self.stop = threading.Event()

    def train(self, jobs: Mapping[str, Job]) -> list[str]:
        """Train jobs by their names; return the names of those that failed.

        Raises:
            UserError: as soon as one refuses its input, which the others would too.
        """
        with ThreadPoolExecutor(min(self.launcher.slots, len(jobs))) as pool:
            try:
                statuses = list(pool.map(self.train_one, jobs, jobs.values()))
            except BaseException:
                # Ctrl-C and SIGTERM too: children that go on would hold their folders, and the next start be refused.
                self.stop.set()
                end(self.running.values())
                raise
        return [name for name, status in zip(jobs, statuses, strict=True) if status]

    def train_one(self, name: str, job: Job) -> int:
        """Run one training, its output in its log; return its exit status.

        Raises:
            UserError: for exit status 2, with the message of the child.
        """
        if self.stop.is_set():
            return 1
        start = time.monotonic()
        logger.info("%s: training, log in %s", name, job.log)
        begin = size_of(job.log)
        with self.launcher.start(job) as training:
            self.running[name] = training
            # It may have been set after it was looked at last, when this training was not in `running` yet.
            if self.stop.is_set():
                training.terminate()
            status = training.wait()
        seconds = time.monotonic() - start
        if status == UserError.status:
            self.stop.set()
            raise UserError(f"{name}: {error_in(job.log, begin)}")
        if status:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            message = "%s: FAILED (%s) after %.0f s; last lines of %s:\n%s"
            logger.error(message, name, how, seconds, job.log, last_lines(job.log))
            return status
        logger.info("%s: %s, %.0f s", name, self.result_of(job), seconds)
        return 0


def size_of(log: Path) -> int:
    """Return where the next line of a log will begin."""
    return log.stat().st_size if log.exists() else 0


def error_in(log: Path, begin: int) -> str:
    """Return the message of a command that ended with exit status 2, from where its part of the log begins."""
    return last_error(log.read_bytes()[begin:].decode("utf-8", "replace"))


def last_error(text: str) -> str:
    """Return the message of a command that ended with exit status 2."""
    found = [line for line in text.splitlines() if line.startswith("error: ")]
    if found:
        return found[-1].removeprefix("error: ")
    return "it refused its arguments: " + " ".join(text.split())[-300:]


def last_lines(log: Path, count: int = 12) -> str:
    """Return the end of a log, without the states of progress bars that were drawn over."""
    if not log.exists():
        return "  (there is no log: it was not started)"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.rpartition("\r")[2] for line in lines[-count:]]
    return "\n".join(f"  {line}" for line in lines)
