"""Several processes behind one socket: started, replaced when they die, and stopped together.

This process imports neither ONNX Runtime nor prometheus_client: threads do not live through a fork, and counters are
shared only if their folder is known when they are made.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from trainer_ext.errors import explain, report

# The variable with the folder where the processes of one server share their counters, as prometheus_client has it.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Seconds before a worker that died is replaced: one that dies at once must not take all the time there is.
PAUSE = 0.5
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# What a worker does; it is given a function to call when it is ready.
Work = Callable[[Callable[[], None]], None]

logger = logging.getLogger(__name__)


def run_workers(count: int, work: Work) -> int:
    """Keep processes alive until a signal stops them; return the exit status.

    Args:
        count: of processes.
        work: what each does until it gets SIGTERM.
    """
    with TemporaryDirectory(prefix="trainer-ext-metrics-") as folder:
        os.environ[SHARED_FOLDER] = folder
        return Workers(count, work).run()


class Workers:
    """The processes of one server.

    Args:
        count: of processes.
        work: what each does.
    """

    def __init__(self, count: int, work: Work):
        self.count = count
        self.work = work
        self.is_stopping = False
        # The system closes `_held` when this process ends, however it ends: the workers then stop.
        self._life, self._held = os.pipe()
        # By process: where it says that it is ready.
        self._signs: dict[int, int] = {}

    def run(self) -> int:
        """Run until all processes have ended.

        If one ends before any was ready, it has found something wrong: then all stop, with its status.
        """
        for number in FORWARDED:
            signal.signal(number, self._forward)
        for _ in range(self.count):
            self._start()
        status = 0
        has_been_ready = False
        while self._signs:
            pid, ended = os.waitpid(-1, 0)
            has_been_ready |= self._was_ready(pid)
            forget_gauges(pid)
            if self.is_stopping:
                continue
            if not has_been_ready:
                status = os.waitstatus_to_exitcode(ended) or 1
                self._forward(signal.SIGTERM)
                continue
            logger.warning("worker %d has ended; another one takes its place", pid)
            time.sleep(PAUSE)
            if not self.is_stopping:
                self._start()
        return status

    def _start(self) -> None:
        sign, give_sign = os.pipe()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            os.close(give_sign)
            self._signs[pid] = sign
            return
        status = 1
        try:
            os.close(self._held)
            self._work(give_sign)
            status = 0
        except BaseException as error:
            message, status = explain(error)
            report(error, message)
        finally:
            # What the parent has open is not this process's to tidy up.
            os._exit(status)

    def _work(self, give_sign: int) -> None:
        """Work, in a new process."""
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        # Ctrl-C reaches the workers, too, before or after what their parent makes of it: a second signal to stop
        # would not wait for requests.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Thread(target=self._stop_with_parent, daemon=True).start()
        self.work(lambda: write_sign(give_sign))

    def _stop_with_parent(self) -> None:
        """Stop this process when its parent has ended."""
        os.read(self._life, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _was_ready(self, pid: int) -> bool:
        """Tell whether a process that has ended had said that it was ready."""
        with os.fdopen(self._signs.pop(pid), "rb") as sign:
            return bool(sign.read())

    def _forward(self, number: int, frame: Any = None) -> None:
        """Pass a signal on to every process."""
        if number != signal.SIGHUP:
            self.is_stopping = True
            number = signal.SIGTERM
        for pid in list(self._signs):
            # One that has ended may be waited for already, and not forgotten yet.
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def write_sign(give_sign: int) -> None:
    """Say that this process is ready."""
    os.write(give_sign, b"1")


def forget_gauges(pid: int) -> None:
    """Remove the gauges of a process that has ended; its counters stay."""
    for path in Path(os.environ[SHARED_FOLDER]).glob(f"gauge_live*_{pid}.db"):
        path.unlink()
