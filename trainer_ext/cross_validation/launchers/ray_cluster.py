"""Trainings as tasks of a Ray cluster: Ray finds a node with free CPUs and GPUs, and starts again what a node lost.

A task is one process of `trainer-ext` on its node, so that a model has the bits that it has without Ray. The nodes
share the data under the same paths, the output folder too or by its URL, and have this package installed.
"""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from trainer_ext.cross_validation.launchers.base import Job, Training, end
from trainer_ext.cross_validation.launchers.process import child_environment, open_process
from trainer_ext.cross_validation.launchers.stored import bring, fetched
from trainer_ext.errors import TERMINATED, UserError, describe_error
from trainer_ext.locks import LOCK, held
from trainer_ext.ray_connection import room_for
from trainer_ext.storage import StorageError

RETRIES = 2
LOOK_AGAIN = 0.2  # seconds between two looks at a process
SEND_AGAIN = 5.0  # seconds between two looks at what is new for a folder at a URL
# A process whose node was lost may need some time to notice that nobody waits for it any more.
LONGEST_WAIT = 60.0

logger = logging.getLogger(__name__)


def nothing() -> None:
    """Send nothing: the node shares the folder."""


class TrainingFailed(Exception):
    """A training ended with another exit status than 0 and 2: Ray tries it again.

    Args:
        status: of the process.
    """

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


class RayLauncher:
    """Starts tasks on the cluster.

    Args:
        num_cpus: of a training.
        num_gpus: of a training; Ray lets it see those only.
        threads: of a training.

    Attributes:
        slots: how many trainings the cluster has room for.

    Raises:
        UserError: if it has room for none.
    """

    def __init__(self, num_cpus: float, num_gpus: float, threads: int):
        self.threads = {"OMP_NUM_THREADS": str(threads)}
        self.resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self.slots = slots_of(ray.cluster_resources(), num_cpus, num_gpus)
        if threads > num_cpus and not num_gpus:
            logger.info(
                "a training has %d threads, as without Ray, and %g CPUs of the cluster: OMP_NUM_THREADS changes the "
                "one, --num_cpus_per_run the other",
                threads,
                num_cpus,
            )

    @contextmanager
    def start(self, job: Job) -> Iterator[Training]:
        """Submit a task; it waits until a node has room for it."""
        task = ray.remote(run_on_node).options(
            **self.resources,
            # Members side by side should be on nodes side by side, and a second try on another node than the first.
            scheduling_strategy="SPREAD",
            max_retries=RETRIES,
            retry_exceptions=[TrainingFailed, StorageError],
        )
        # Ray's own choice would be the CPUs of the task.
        job = replace(job, environment={**self.threads, **job.environment})
        yield RayTraining(task.remote(job, os.getcwd()), partial(bring, job))


def slots_of(cluster: Mapping[str, float], num_cpus: float, num_gpus: float) -> int:
    """Return for how many trainings a cluster has room."""
    asked = f"num_cpus_per_run {num_cpus} and num_gpus_per_run {num_gpus}"
    return room_for(cluster, num_cpus, num_gpus, asked)


def run_on_node(job: Job, folder: str) -> int:
    """Train in a process of this node; return its exit status, 0 or 2.

    Args:
        job: what is trained.
        folder: the working directory of the command.

    Raises:
        TrainingFailed: for any other exit status.
    """
    os.chdir(folder)
    if job.storage:
        with fetched(job) as (here, send):
            return train_here(here, send)
    wait_until_free(job)
    return train_here(job)


def train_here(job: Job, send: Callable[[], None] = nothing) -> int:
    """Train in a process of this node; return its exit status, 0 or 2.

    Args:
        job: what is trained.
        send: called now and then, and at the end.

    Raises:
        TrainingFailed: for any other exit status.
    """
    sent = time.monotonic()
    with open_process(job, child_environment(1)) as process:
        try:
            # A look now and then: an interruption does not reach a process that waits for another.
            while process.poll() is None:
                time.sleep(LOOK_AGAIN)
                if time.monotonic() - sent > SEND_AGAIN:
                    send()
                    sent = time.monotonic()
        finally:
            end([process])
    send()
    if process.returncode not in (0, UserError.status):
        raise TrainingFailed(process.returncode)
    return process.returncode


def wait_until_free(job: Job) -> None:
    """Wait for the end of a process that another node has left in the folder of a job."""
    deadline = time.monotonic() + LONGEST_WAIT
    # A run of a sweep may have folds or seeds, each with a lock of its own.
    for lock in (job.folder / LOCK, *job.folder.glob(f"*/{LOCK}")):
        while time.monotonic() < deadline and not is_free(lock):
            time.sleep(LOOK_AGAIN)


def is_free(lock: Path) -> bool:
    """Return whether nobody holds a lock."""
    try:
        with held(lock, "held"):
            return True
    except UserError:
        return False


class RayTraining:
    """A task, as `Training` has it.

    Args:
        reference: of the task's result.
        bring: called when it has ended: brings here what it left.
    """

    def __init__(self, reference: Any, bring: Callable[[], None]):
        self.reference = reference
        self.bring = bring
        self.status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status; None while it runs or waits for a node."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        if self.status is None:
            done, _ = ray.wait([self.reference], timeout=timeout)
            if not done:
                raise subprocess.TimeoutExpired("ray task", timeout or 0)
            status = status_of(self.reference)
            self.bring()
            self.status = status
        return self.status

    def terminate(self) -> None:
        """Interrupt the task, which ends its process."""
        ray.cancel(self.reference)

    def kill(self) -> None:
        """End the worker of the task; its process notices."""
        ray.cancel(self.reference, force=True)


def status_of(reference: Any) -> int:
    """Return the exit status of a task that has ended."""
    try:
        status: int = ray.get(reference)
        return status
    except TaskCancelledError:
        return TERMINATED
    except RayTaskError as error:
        if isinstance(error.cause, TrainingFailed):
            return error.cause.status
        logger.error("a training could not be started: %s", describe_error(error))
        return 1
    except RayError as error:
        # Its node was lost, and so were those of the other tries.
        logger.error("a training was lost: %s", describe_error(error))
        return 1
