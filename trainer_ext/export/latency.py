"""Latency of several variants, measured side by side: each text goes through all of them before the next one."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer_ext.inference import Predictor

THREADS = 1  # of the gate, so that its latencies compare between machines
WARM_UP = 5  # batches; the first runs allocate memory and fill caches
BATCH_SIZES = (1, 8, 32)
MOST_BATCHES = 40  # of each size


@dataclass(frozen=True)
class LatencyRow:
    """Times of one variant at one batch size; tokenising is included."""

    variant: str
    batch_size: int
    ms_p50: float
    ms_p95: float
    texts_per_second: float


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


def measure_latency(predictors: Mapping[str, Predictor], texts: Sequence[Any]) -> list[LatencyRow]:
    """Measure p50 and p95 of a batch and the throughput, for batches of 1, 8 and 32 texts."""
    rows = []
    for size in BATCH_SIZES:
        stop = min(len(texts), MOST_BATCHES * size)
        batches = [texts[start : start + size] for start in range(0, stop, size)]
        for predictor in predictors.values():
            predictor.batch_size = size
        for name, times in latencies_ms(predictors, batches).items():
            p50, p95 = np.percentile(times, [50, 95]).tolist()
            row = LatencyRow(
                variant=name,
                batch_size=size,
                ms_p50=round(p50, 3),
                ms_p95=round(p95, 3),
                texts_per_second=round(1000 * size / p50, 1),
            )
            rows.append(row)
    return rows
