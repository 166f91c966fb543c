"""Metrics of rows drawn with replacement, the same draws for every model: what the export gate and comparing share."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer_ext.tasks import Task
from trainer_ext.tasks.activations import Array
from trainer_ext.tasks.tallies import Metrics

RESAMPLES = 2000
# Fewer, if the rows are many: their bounds are narrow anyway.
MOST_DRAWN = 40_000_000  # rows, over all resamples
FEWEST_RESAMPLES = 400
SLOW_RESAMPLES = 200  # of a task without a tally
BLOCK = 2_000_000  # weights in memory at a time
SEED = 0


def resampled_metrics(
    task: Task,
    logits: Any,
    reference: Any,
    labels: Any,
) -> tuple[Metrics, Metrics]:
    """Return the metrics of the reference and of the variant, (1 + R,) each: of the rows, then of R resamples.

    Both are computed on the same resamples, so that what makes rows hard for both cancels out.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile intervals).
    """
    before = task.reduce(reference, labels)
    after = task.reduce(logits, labels)
    try:
        before_tally = task.tally(before, labels)
        after_tally = task.tally(after, labels)
    except NotImplementedError:
        return slow_metrics(task, before, after, labels)
    all_before, all_after = sums_of_resamples(before_tally, after_tally)
    return task.metrics_of_sums(all_before), task.metrics_of_sums(all_after)


def metric_intervals(task: Task, logits: Any, labels: Any) -> dict[str, tuple[float, float]]:
    """Return the 95% percentile interval over rows of each metric that adds up over rows; none without a tally."""
    try:
        tally = task.tally(task.reduce(logits, labels), labels)
    except NotImplementedError:
        return {}
    (sums,) = sums_of_resamples(tally)
    intervals = {}
    for name, values in task.metrics_of_sums(sums).items():
        low, high = np.quantile(values[1:], [0.025, 0.975]).tolist()
        intervals[name] = (low, high)
    return intervals


def sums_of_resamples(*tallies: Array) -> list[Array]:
    """Return of each tally (N, K) its sums (1 + R, K): over the rows, then over R resamples, the same for all."""
    sums = [[tally.sum(axis=0, keepdims=True)] for tally in tallies]
    for weights in resampling_weights(len(tallies[0])):
        for parts, tally in zip(sums, tallies, strict=True):
            parts.append(weights @ tally)
    return [np.concatenate(parts) for parts in sums]


def resampling_weights(rows: int) -> Iterator[Array]:
    """Yield blocks (r, N) of how often each of N rows is in a resample."""
    drawn = drawn_rows(rows, resamples_for(rows))
    for indices in drawn:
        count = len(indices)
        # One bincount for the whole block: each resample has a range of its own.
        offsets = rows * np.arange(count)[:, None]
        places = (indices + offsets).ravel()
        flat = np.bincount(places, minlength=count * rows)
        yield flat.reshape(count, rows).astype(np.float64)


def resamples_for(rows: int) -> int:
    """Return how many resamples are drawn of so many rows."""
    affordable = MOST_DRAWN // max(1, rows)
    return max(FEWEST_RESAMPLES, min(RESAMPLES, affordable))


def drawn_rows(rows: int, resamples: int) -> Iterator[Array]:
    """Yield blocks (r, N) of row numbers drawn with replacement; the same ones every time."""
    generator = np.random.default_rng(SEED)
    size = max(1, BLOCK // rows)
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        yield generator.integers(0, rows, size=(count, rows))


def slow_metrics(task: Task, before: Any, after: Any, labels: Any) -> tuple[Metrics, Metrics]:
    """Do the same for a task whose rows are arrays and that has no tally: the metric function on each resample."""
    rows = len(labels)
    draws = [np.arange(rows)]
    for block in drawn_rows(rows, SLOW_RESAMPLES):
        draws.extend(block)
    name = task.default_metric
    of_before = []
    of_after = []
    for drawn in draws:
        true = labels[drawn]
        of_before.append(task.metrics_of(before[drawn], true)[name])
        of_after.append(task.metrics_of(after[drawn], true)[name])
    return {name: np.array(of_before)}, {name: np.array(of_after)}
