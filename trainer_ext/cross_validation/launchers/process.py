"""Trainings as processes of this machine, which share out its cores and GPUs."""

import logging
import os
import queue
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from trainer_ext.children import PARENT, environment_with_package
from trainer_ext.cores import available_cores
from trainer_ext.cross_validation.launchers.base import Job, Training

logger = logging.getLogger(__name__)


class ProcessLauncher:
    """Starts processes on this machine.

    Args:
        slots: how many run at a time.
        use_cpu: whether GPUs are left alone.
    """

    def __init__(self, slots: int, use_cpu: bool):
        self.slots = slots
        # As many environments as slots: whoever takes one has its GPU to itself until it puts it back.
        self.environments: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        for gpu in shared_gpus(use_cpu, slots):
            self.environments.put(child_environment(slots, gpu))

    @contextmanager
    def start(self, job: Job) -> Iterator[Training]:
        """Start a process, its output added to the job's log."""
        environment = self.environments.get()
        try:
            with open_process(job, environment) as process:
                yield process
        finally:
            self.environments.put(environment)


@contextmanager
def open_process(job: Job, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """Start the process of a job; its log is open until the block ends."""
    job.folder.mkdir(parents=True, exist_ok=True)
    with open_logged(job.words, job.log, {**environment, **job.variables}) as process:
        yield process


@contextmanager
def open_logged(
    words: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen]:
    """Start a command of `trainer-ext`, its output added to a log, which is open until the block ends."""
    with open(log, "ab") as file:
        yield subprocess.Popen(
            [sys.executable, "-m", "trainer_ext", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )


def shared_gpus(use_cpu: bool, workers: int) -> list[str | None]:
    """Return the GPU that the processes of each worker see, in turn; None without one."""
    gpus = [] if use_cpu else visible_gpus()
    if not gpus:
        return [None] * workers
    if len(gpus) > workers:
        message = "%d GPUs are visible; --num_fold_workers %d trains on all of them"
        logger.info(message, len(gpus), len(gpus))
    return [gpus[k % len(gpus)] for k in range(workers)]


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return [name.strip() for name in named.split(",")][:count]


def child_environment(workers: int, gpu: str | None = None) -> dict[str, str]:
    """Return the environment of a child, in which this package can be imported.

    Args:
        workers: processes that run at the same time and share this one's cores.
        gpu: the only one that the child sees; None leaves the choice to it.
    """
    environment = environment_with_package()
    environment["PYTHONUNBUFFERED"] = "1"
    environment[PARENT] = str(os.getpid())
    if workers > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // workers)))
    if gpu is not None:
        # With several visible GPUs the Trainer of each child would spread over all of them.
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return environment
