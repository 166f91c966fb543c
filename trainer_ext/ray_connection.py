"""The connection to a Ray cluster, or a cluster of this machine's cores for one command. An extra: import it late."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from trainer_ext.cores import available_cores
from trainer_ext.errors import UserError, describe_error


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster, or start one of this machine's cores, which ends with the block.

    A process that is connected already stays so.

    Raises:
        UserError: if there is no cluster at this address.
    """
    if ray.is_initialized():
        yield
        return
    # It would ask for consent, and send what it counted, in the middle of a training.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False}
    if address == "local":
        # Ray gives its workers way to everything else on a machine, which a cluster of one's own need not.
        os.environ.setdefault("RAY_worker_niceness", "0")
        options |= {"num_cpus": available_cores(), "include_dashboard": False}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"ray_address {address}: no cluster answers there ({describe_error(error)}); `ray start --head` starts "
            "one, and ray_address local one for this command only"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def room_for(cluster: Mapping[str, float], num_cpus: float, num_gpus: float, asked: str) -> int:
    """Return how many times a cluster has these CPUs and GPUs.

    Args:
        cluster: its resources, as Ray names them.
        num_cpus, num_gpus: of one training or actor.
        asked: what the user said of them, for the message.

    Raises:
        UserError: if it does not have them once.
    """
    room = cluster.get("CPU", 0) / num_cpus
    if num_gpus:
        room = min(room, cluster.get("GPU", 0) / num_gpus)
    if room < 1:
        raise UserError(
            f"{asked}: the cluster has {cluster.get('CPU', 0):g} CPUs and {cluster.get('GPU', 0):g} GPUs"
        )
    return int(room)
