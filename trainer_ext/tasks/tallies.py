"""Metrics from counts that add up over rows, so that a metric of any weighting of the rows costs one product.

A *tally* is an array (N, K): what each row adds to K sums. `task.tally` makes it and `task.metrics_of_sums` turns sums
(R, K) into metrics (R,), one for each of R weightings: the paired bootstrap of the export gate draws thousands.
"""

import numpy as np

from trainer_ext.tasks.activations import Array, one_hot

COUNTS = 3
"""Of a class: predicted and true, predicted, true."""

Metrics = dict[str, Array]
"""(R,) by name."""


def class_counts(predicted: Array, true: Array, classes: int) -> Array:
    """Return (N, ..., C, 3): whether a class is both predicted and true, is predicted, is true.

    Args:
        predicted: class indices (N, ...).
        true: class indices (N, ...), or the probability of each class (N, ..., C).
        classes: C.
    """
    predicted_flags = one_hot(predicted, classes)
    true_flags = true
    if true.ndim == predicted.ndim:
        true_flags = one_hot(true, classes)
    return flag_counts(predicted_flags, true_flags)


def flag_counts(predicted: Array, true: Array) -> Array:
    """Return (..., 3) from flags (...), of which the true ones may be probabilities."""
    both = predicted * true
    counts: Array = np.stack([both, predicted, true], axis=-1).astype(np.float64)
    return counts


def f1_of_counts(sums: Array) -> Array:
    """Return F1 (...) from sums (..., 3); 0 where a class is neither predicted nor true."""
    both, predicted, true = np.moveaxis(sums, -1, 0)
    return ratio(2 * both, predicted + true)


def macro_f1(sums: Array) -> Array:
    """Return the mean F1 (...) over the classes (..., C, 3) that are predicted or true, as scikit-learn counts."""
    f1 = f1_of_counts(sums)
    is_present = sums[..., 1] + sums[..., 2] > 0
    total = (f1 * is_present).sum(axis=-1)
    return ratio(total, is_present.sum(axis=-1))


def ratio(part: Array, whole: Array) -> Array:
    """Return part / whole, 0 where there is nothing to divide by."""
    quotient = np.zeros(np.broadcast(part, whole).shape)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient
