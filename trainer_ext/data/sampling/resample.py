"""Balance training rows: how often each is shown in an epoch, by row numbers alone. Needs numpy only.

    weight   of a row with one label      1 / (share of rows with its label)
             of one with several labels   its largest sqrt(f / f_label), f being the share of the commonest label
    repeats  proportional to the weight; the smallest is 1 (oversample: no row is lost), the largest is 1 (undersample:
             no row is shown twice), or their mean is 1 (hybrid: the epoch keeps its length)

With one label that makes every class as large as the largest, as small as the smallest, or of the mean size. With
several a row brings its common labels along, so classes cannot be made equal; the square root and the largest factor of
a row's labels are the repeat factors of Gupta, Dollar & Girshick 2019, LVIS (arXiv:1908.03195), section 5.1, with the
commonest label's share as the threshold.

Repeats that are not whole numbers are rounded up or down, another way in each epoch, by systematic sampling (Madow
1949, On the Theory of Systematic Sampling, II): on average a row is shown as often as its repeats say, while the length
of an epoch and the sizes of classes stay the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Reduce = Callable[[np.ndarray], np.float64]

# The weight that is shown once an epoch, and how the length of an epoch is rounded.
UNITS: dict[str, tuple[Reduce, Reduce]] = {
    "oversample": (np.min, np.ceil),
    "undersample": (np.max, np.floor),
    "hybrid": (np.mean, np.rint),
}
METHODS = tuple(UNITS)


def row_weights(classes: np.ndarray) -> np.ndarray:
    """Return the relative weight (N,) of each row, at least 1 for some row.

    Args:
        classes: indices (N,) of one class a row, or (N, K) of several, of which those below zero do not count; as
            `task.classes_to_balance` gives them.
    """
    if classes.ndim == 1:
        return len(classes) / np.bincount(classes)[classes]
    rarest = np.full(len(classes), np.inf)
    commonest = 0.0
    # One column after another: a million rows of twenty aspects need no matrix of shares.
    for column in classes.T:
        counted = column >= 0
        own = column[counted]
        shares = np.bincount(own) / len(classes)
        rarest[counted] = np.minimum(rarest[counted], shares[own])
        commonest = max(commonest, shares.max(initial=0.0))
    # Eq. in section 5.1 of LVIS; the largest factor of a row's labels is that of its rarest.
    return np.sqrt(commonest / rarest)


def repeats(weights: np.ndarray, method: str) -> np.ndarray:
    """Return how often each row is shown in an epoch on average, (N,).

    The sum is a whole number, the epoch's length.
    """
    unit, round_length = UNITS[method]
    scaled = weights / unit(weights)
    total = scaled.sum()
    # Rounding errors must not make another row of a sum that is whole.
    length = np.round(total)
    if not np.isclose(total, length, rtol=1e-9):
        length = round_length(total)
    return scaled * (length / total)


@dataclass(frozen=True)
class Resampler:
    """Draws an epoch's rows.

    Attributes:
        repeats: of each row, (N,); the sum is the epoch's length.
        groups: class of each row with one label, (N,), whose sizes are then exact; None for several labels.
    """

    repeats: np.ndarray
    groups: np.ndarray | None

    def __len__(self) -> int:
        return round(self.repeats.sum())

    def with_rows(self, count: int) -> "Resampler":
        """Return one that also shows `count` more rows, after the others, once in each epoch."""
        if not count:
            return self
        groups = self.groups
        if groups is not None:
            groups = np.append(groups, np.full(count, groups.max() + 1))
        return Resampler(np.append(self.repeats, np.ones(count)), groups)

    def draw(self, seed: int, epoch: int) -> np.ndarray:
        """Return row numbers of an epoch (len(self),), ascending: a function of seed and epoch."""
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(len(self.repeats))
        if self.groups is not None:
            order = order[np.argsort(self.groups[order], kind="stable")]
        # Madow: of the points u, u + 1, u + 2, ... on the line of all repeats, those in a row's part; u away from the
        # ends, so that rounding errors of the sum cannot move a point over the border of a class.
        start = generator.uniform(0.001, 0.999)
        line = np.cumsum(self.repeats[order])
        edges = np.floor(line + start).astype(np.int64)
        counts = np.empty_like(edges)
        counts[order] = np.diff(edges, prepend=0)
        return np.repeat(np.arange(len(counts)), counts)


def make_resampler(classes: np.ndarray, method: str) -> Resampler:
    """Return a resampler of the training part, whose classes `row_weights` takes; `method` is one of `METHODS`."""
    groups = classes if classes.ndim == 1 else None
    return Resampler(repeats(row_weights(classes), method), groups)
