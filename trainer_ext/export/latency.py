"""Latency of several variants, measured side by side: each text goes through all of them before the next one."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer_ext.inference import Predictor

THREADS = 1  # of the gate, so that its latencies compare between machines
WARM_UP = 5  # batches; the first runs allocate memory and fill caches


def latencies_ms(
    predictors: Mapping[str, Predictor], batches: Sequence[Sequence[Any]]
) -> dict[str, np.ndarray]:
    """Return the milliseconds of each batch, by variant."""
    names = list(predictors)
    warm_up = batches[:WARM_UP]
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn, texts in enumerate([*warm_up, *batches]):
        # All variants take turns with each batch, so that a machine which slows down for a while slows all of them
        # down; and each is the first, with cold caches, equally often.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            predictors[name].logits(texts)
            elapsed = time.perf_counter() - start
            if turn >= len(warm_up):
                times[name].append(1000 * elapsed)
    return {name: np.array(values) for name, values in times.items()}
