"""The flags of who runs several trainings: processes of this machine, or a Ray cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError

LAUNCHERS = ("process", "ray")
RAY_FLAGS = ("ray_address", "num_cpus_per_run", "num_gpus_per_run")
CLUSTER_HELP = (
    "Ray cluster: auto (RAY_ADDRESS, or the one that runs on this machine), local (started for this "
    "command)"
)
DEFAULT_ADDRESS = "auto"


@dataclass
class LauncherArguments:
    """Where the models of several are trained."""

    _argument_group_name = "where several models train"

    launcher: str = option(
        "process",
        "Train folds, seeds, trials or runs of a sweep as processes of this machine, or on a Ray cluster.",
        choices=LAUNCHERS,
    )
    ray_address: str = option(DEFAULT_ADDRESS, f"{CLUSTER_HELP}, or ray://HOST:PORT.")
    num_cpus_per_run: float = option(1.0, "CPUs of the cluster that a training takes.", above=0)
    num_gpus_per_run: float = option(
        0.0, "GPUs of the cluster that a training takes; 0.5: two share one.", minimum=0
    )


def check_ray_installed(flag: str, extra_packages: Sequence[str] = ()) -> None:
    """Refuse a flag that needs Ray if it is not installed.

    Args:
        flag: with its value, as it was given.
        extra_packages: that this use of Ray needs beside it.

    Raises:
        UserError: naming what to install.
    """
    for package in ("ray", *extra_packages):
        if find_spec(package) is None:
            raise UserError(f"{flag} needs {package}: pip install -e '.[ray]'")


def check_ray_flags(flags: LauncherArguments) -> None:
    """Refuse Ray's flags without Ray.

    Raises:
        UserError: naming the flag.
    """
    if flags.launcher == "ray":
        return
    defaults = LauncherArguments()
    for name in RAY_FLAGS:
        value = getattr(flags, name)
        if value != getattr(defaults, name):
            raise UserError(
                f"{name} {value} has no effect: launcher is process: it needs --launcher ray"
            )
