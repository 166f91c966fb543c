"""Shards on a Ray cluster, through Ray Data: an actor for each core or GPU holds one model and answers shard by shard.

Ray Data hands an actor the next shard when it is done with one, and starts it again elsewhere if its node is lost. Only
names travel: an actor reads and writes the files itself, so that memory does not grow with the rows.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data

from trainer_ext.inference.shards import Answered, Shard, ShardSettings, ShardWorker
from trainer_ext.ray_connection import connected, room_for

logger = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]


class ShardActor:
    """A `ShardWorker` as Ray Data calls it: columns in, columns out.

    Args:
        settings: how shards are answered.
        folder: where the answers go.
    """

    def __init__(self, settings: ShardSettings, folder: str):
        self.worker = ShardWorker(settings, folder)

    def __call__(self, batch: Batch) -> Batch:
        """Answer the shards of a batch, which has one."""
        columns: dict[str, list[Any]] = {"name": [], "rows": [], "rejected": [], "error": []}
        for source, name in zip(batch["source"], batch["name"], strict=True):
            answered = self.worker.answer(Shard(str(source), str(name)))
            values = (str(name), *astuple(answered))
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        return {name: np.array(values) for name, values in columns.items()}


def answer_on_ray(
    shards: Sequence[Shard],
    settings: ShardSettings,
    folder: Path,
    address: str,
    num_gpus: float,
) -> Iterator[tuple[str, Answered]]:
    """Answer shards, and yield the name and the result of each as it is finished.

    Args:
        shards: that are not answered yet.
        settings: how.
        folder: where the answers go; on a cluster every node must have it, and the shards, under this path.
        address: of the cluster.
        num_gpus: of an actor.

    Raises:
        UserError: if there is no cluster, or it has no room for an actor.
    """
    threads = settings.model["num_threads"]
    with connected(address):
        cluster = ray.cluster_resources()  # type: ignore[no-untyped-call]  # ray has no types there
        asked = f"num_threads {threads}, {num_gpus:g} GPUs for each"
        actors = min(room_for(cluster, threads, num_gpus, asked), len(shards))
        # Its own account of what it does would stand between ours.
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        rows = [{"source": shard.source, "name": shard.name} for shard in shards]
        # A block for each shard, so that actors take them one by one.
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ShardActor,
            fn_constructor_args=(settings, str(folder.absolute())),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=threads,
            num_gpus=num_gpus,
        )
        logger.info("%d shards for %d actors", len(rows), actors)
        for row in dataset.iter_rows():
            yield row["name"], Answered(int(row["rows"]), int(row["rejected"]), row["error"])
