"""How much of a metric a variant loses, and how sure that is: a paired bootstrap over rows, and an exact bound.

On 300 rows one row is 0.3 points of accuracy: the difference of two numbers says little without its spread.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from trainer_ext.tasks import Task
from trainer_ext.tasks.activations import Array
from trainer_ext.tasks.tallies import Metrics

CONFIDENCE = 0.95
ALPHA = 0.05  # 1 - CONFIDENCE, without its rounding error
RESAMPLES = 2000
# Fewer, if the rows are many: their bounds are narrow anyway.
MOST_DRAWN = 40_000_000  # rows, over all resamples
FEWEST_RESAMPLES = 400
SLOW_RESAMPLES = 200  # of a task without a tally
BLOCK = 2_000_000  # weights in memory at a time
SEED = 0


@dataclass
class Loss:
    """What a variant loses against the float model on the same rows.

    Points are hundredths of the metric's unit (1 for shares, the labels' standard deviation for errors); a gain is
    below zero. Each bound holds with 95% by itself.

    Attributes:
        rows: number of rows.
        points: measured; None if the rows have no labels, and the task cannot do without.
        low: the loss is at least this.
        high: a loss of up to this cannot be excluded.
        p_value: how probable such rows are if the true loss is at most what is allowed (one-sided).
        changed: rows whose answer differs from the float model's.
        changed_at_most: upper bound on the share of such rows among all texts (Clopper-Pearson).
    """

    rows: int
    points: float | None
    low: float | None
    high: float | None
    p_value: float | None
    changed: int
    changed_at_most: float


def measure_loss(
    task: Task,
    logits: Any,
    reference: Any,
    labels: Any,
    allowed: float = 0.0,
) -> Loss:
    """Return what `logits` lose of the default metric against `reference`.

    Args:
        task: of the model.
        logits: of the variant, as `compute_metrics` takes them.
        reference: the float model's on the same rows.
        labels: of the rows; None: the float model's own probabilities stand in for them.
        allowed: points that may be lost; the p-value is about a loss of more.
    """
    is_changed = task.changed(logits, reference)
    rows = len(is_changed)
    changed = int(is_changed.sum())
    loss = Loss(
        rows=rows,
        points=None,
        low=None,
        high=None,
        p_value=None,
        changed=changed,
        changed_at_most=clopper_pearson(changed, rows),
    )
    if labels is None:
        labels = task.soft_labels(reference)
    if labels is None:
        return loss
    before, after = resampled_metrics(task, logits, reference, labels)
    name = task.default_metric
    drawn = points_lost(task, name, before[name], after[name], labels)
    measured, resampled = drawn[0], drawn[1:]
    loss.points = float(measured)
    loss.low, loss.high = bounds(resampled)
    # Harm that is rarer than one row in `rows` was not seen, and so is in no resample either.
    if task.has_classes:
        unseen = 100 * clopper_pearson(0, rows)
        loss.high = max(loss.high, unseen)
    loss.p_value = p_value(resampled, allowed)
    return loss


def points_lost(task: Task, name: str, before: Array, after: Array, labels: Any) -> Array:
    """Return how many points of a metric are lost between two values (R,)."""
    unit = task.metric_units(labels).get(name)
    if unit is None:
        unit = task.metric_unit(labels)
    lost = before - after
    # Errors lose by growing.
    if not task.greater_is_better:
        lost = -lost
    points: Array = 100 * lost / unit
    return points


def bounds(resampled: Array) -> tuple[float, float]:
    """Return the lower and the upper 95% bound from losses of resamples (R,)."""
    low, high = np.quantile(resampled, [ALPHA, CONFIDENCE]).tolist()
    return low, high


def p_value(resampled: Array, allowed: float) -> float:
    """Return the share of resamples (R,) that lose no more than is allowed; NaN if any is NaN."""
    if np.isnan(resampled).any():
        return float("nan")
    within = int((resampled <= allowed).sum())
    # The measured rows count as one draw, so that it is never 0.
    # Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 4.2, eq. 4.11.
    return (1 + within) / (1 + len(resampled))


def clopper_pearson(successes: int, trials: int) -> float:
    """Return the upper 95% bound on a probability.

    Source: Clopper and Pearson, The Use of Confidence or Fiducial Limits (Biometrika 26, 1934), one-sided.
    """
    if successes >= trials:
        return 1.0
    return float(beta.ppf(CONFIDENCE, successes + 1, trials - successes))


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
    rows = len(before_tally)
    before_sums = [before_tally.sum(axis=0, keepdims=True)]
    after_sums = [after_tally.sum(axis=0, keepdims=True)]
    for weights in resampling_weights(rows):
        before_sums.append(weights @ before_tally)
        after_sums.append(weights @ after_tally)
    all_before = np.concatenate(before_sums)
    all_after = np.concatenate(after_sums)
    return task.metrics_of_sums(all_before), task.metrics_of_sums(all_after)


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
