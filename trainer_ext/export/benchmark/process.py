"""The parent's side of `worker.py`: start a process for a variant, ask it for runs, end it."""

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from trainer_ext.children import environment_with_package
from trainer_ext.errors import RunError
from trainer_ext.export.benchmark.worker import Job

MODULE = "trainer_ext.export.benchmark.worker"


class WorkerProcess:
    """A process that has one variant loaded.

    Args:
        job: what it runs.
    """

    def __init__(self, job: Job):
        command = [sys.executable, "-m", MODULE, json.dumps(asdict(job))]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment_with_package(),
            text=True,
        )

    def wait_until_loaded(self) -> str:
        """Return what answers, and where, as soon as it is ready; `RunError` if it cannot be loaded."""
        return str(self._reply()["runs_on"])

    def seconds(self, length: int, batch_size: int) -> float:
        """Return the seconds of one run; `RunError` if it fails."""
        return float(self._ask({"length": length, "batch_size": batch_size})["seconds"])

    def peak_memory(self) -> int:
        """Return the largest resident memory of the process so far, in bytes."""
        return int(self._ask({"memory": True})["peak_memory_bytes"])

    def end(self) -> None:
        """End the process: it has nothing to save."""
        self.process.kill()
        self.process.communicate()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._has_ended() from None
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._has_ended()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RunError(reply["error"])
        return reply

    def _has_ended(self) -> RunError:
        """Return the error for a process that is gone."""
        status = self.process.wait()
        how = f"exit status {status}"
        if status < 0:
            # 9 is how Linux ends a process for which there is no memory.
            how = f"signal {-status}"
        return RunError(f"its process ended with {how}")
