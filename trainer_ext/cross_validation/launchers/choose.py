"""The launcher that the flags name."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.launch import LauncherArguments, check_ray_installed
from trainer_ext.cross_validation.launchers.base import Launcher
from trainer_ext.cross_validation.launchers.process import ProcessLauncher


def check_launcher_installed(args: Arguments) -> None:
    """Raise `UserError` if the launcher needs a package that is not installed."""
    if args.folds.launcher == "ray":
        check_ray_installed("launcher ray")


@contextmanager
def open_ray(flags: LauncherArguments) -> Iterator[Launcher]:
    """Yield what starts trainings on the cluster that flags name.

    Raises:
        UserError: if there is no such cluster.
    """
    # Inside: an extra.
    from trainer_ext.cross_validation.launchers.ray_cluster import RayLauncher
    from trainer_ext.ray_connection import connected

    # As many threads as a process of this machine would have: sums in another order have other last bits.
    threads = torch.get_num_threads()
    with connected(flags.ray_address):
        yield RayLauncher(flags.num_cpus_per_run, flags.num_gpus_per_run, threads)


@contextmanager
def open_launcher(args: Arguments, jobs: int) -> Iterator[Launcher]:
    """Yield what starts the trainings.

    Args:
        args: of all trainings.
        jobs: how many trainings there are.

    Raises:
        UserError: if there is no such cluster.
    """
    if args.folds.launcher == "ray":
        with open_ray(args.folds) as launcher:
            yield launcher
        return
    slots = max(1, min(args.folds.num_fold_workers, jobs))
    yield ProcessLauncher(slots, args.training.use_cpu)
