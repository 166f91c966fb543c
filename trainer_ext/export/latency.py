"""Latency of several variants, measured side by side: each text goes through all of them before the next one."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer_ext.inference import Predictor

THREADS = 1  # of the gate, so that its latencies compare between machines
WARM_UP = 5  # batches; the first runs allocate memory and fill caches


def latencies_ms(
    predictors: Mapping[str, Predictor], batches: Sequence[Sequence[Any]]
) -> dict[str, np.ndarray]:
    """Return the milliseconds of each batch, by variant."""
    calls = {name: predictor.logits for name, predictor in predictors.items()}
    return times_ms(calls, batches)


def times_ms(
    calls: Mapping[str, Callable[[Any], Any]],
    inputs: Sequence[Any],
    in_a_row: int = 1,
) -> dict[str, np.ndarray]:
    """Return the milliseconds of each call with each input, by the call's name.

    Args:
        calls: what is measured.
        inputs: what each is called with.
        in_a_row: how often at a time. Of several calls the first does not count: it finds the caches full of what
            the others have used, unlike a model that is served alone.
    """
    names = list(calls)
    warm_up = inputs[:WARM_UP]
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn, value in enumerate([*warm_up, *inputs]):
        # All of them take turns with each input, so that a machine which slows down for a while slows all of them
        # down; and each is the first, with cold caches, equally often.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            for call in range(in_a_row):
                start = time.perf_counter()
                calls[name](value)
                elapsed = time.perf_counter() - start
                counts = call > 0 or in_a_row == 1
                if counts and turn >= len(warm_up):
                    times[name].append(1000 * elapsed)
    return {name: np.array(values) for name, values in times.items()}
