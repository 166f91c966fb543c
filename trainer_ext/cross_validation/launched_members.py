"""Folds or seeds inside a launch (torchrun): each is a launch of fresh processes, one beside each process of the first.

A process of the launch starts the same command for one member, under its own rank and a port of their own, and waits.
So a member trains on all devices, and no memory of one stays for the next.
"""

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.launchers.base import Job, end
from trainer_ext.cross_validation.launchers.process import child_environment, open_process
from trainer_ext.cross_validation.side_by_side import error_in, last_lines
from trainer_ext.cross_validation.train_members import job_of, unfinished
from trainer_ext.errors import RunError, UserError
from trainer_ext.processes import on_main

LOOK_AGAIN = 0.5  # seconds between two looks at all processes of a member


def train_launched(args: Arguments, names: Sequence[str]) -> None:
    """Train each member that is not finished, one after the other, in as many processes as were launched.

    Args:
        args: of all members.
        names: of all members.

    Raises:
        UserError: on every process, for bad input.
        RunError: on every process, as soon as a member failed.
    """
    folder = Path(args.training.output_dir)
    for name in on_main(lambda: unfinished(args, folder, names)):
        job = job_of(args, name)
        port = on_main(free_port)
        statuses = train_together(job, port)
        failed = [status for status in statuses if status]
        if not failed:
            continue
        if UserError.status in failed:
            raise UserError(f"{name}: {error_in(job.log, 0)}")
        raise RunError(
            f"{name} failed (see {job.log}: {last_lines(job.log, 1).strip()}); run the same command again: it keeps "
            "what is finished"
        )


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as found:
        found.bind(("", 0))
        port: int = found.getsockname()[1]
        return port


def train_together(job: Job, port: int) -> list[int]:
    """Start the process of this rank for a member, and wait for those of all ranks; return their exit statuses.

    Args:
        job: of the member.
        port: on which its processes find each other.
    """
    environment = child_environment(1)
    environment["MASTER_PORT"] = str(port)
    # Those of the launcher's own store, which lies at the first port.
    environment["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    statuses: list[int | None] = [None] * dist.get_world_size()
    with open_process(job, environment) as process:
        try:
            while None in statuses:
                time.sleep(LOOK_AGAIN)
                dist.all_gather_object(statuses, process.poll())
                # The processes of the others would wait for the one that has ended.
                if any(status for status in statuses):
                    end([process])
        finally:
            end([process])
    return [status or 0 for status in statuses]
