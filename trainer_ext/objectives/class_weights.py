"""Class weights from how often each class occurs in the training part."""

import numpy as np

from trainer_ext.tasks.activations import Array

METHODS = ("balanced", "effective")
BETA = 0.999


def count_classes(labels: Array, classes: int) -> Array:
    """Return how often each class occurs: labels (N,) -> (C,); (N, A) -> (A, C), each aspect by itself."""
    # Not np.bincount: aspects are counted side by side, and labels below zero not at all.
    counts = [(labels == k).sum(axis=0) for k in range(classes)]
    return np.stack(counts, axis=-1)


def class_weights(counts: Array, method: str) -> Array:
    """Return weights of classes that occur `counts` times; shaped as it, (..., C). A class that does not occur has 1.

    balanced:  n / (C n_c), as scikit-learn's `compute_class_weight`.
    effective: (1 - beta) / (1 - beta^n_c) with beta 0.999, scaled to sum to C: Cui et al., Class-Balanced Loss Based on
               Effective Number of Samples (arXiv:1901.05555), eq. 4.
    C counts the classes that occur.
    """
    counts = np.asarray(counts, dtype=np.float64)
    present = counts > 0
    # Not 0, which would divide; a class that does not occur gets its weight of 1 at the end.
    safe = np.where(present, counts, 1)
    number = present.sum(axis=-1, keepdims=True)
    if method == "balanced":
        total = counts.sum(axis=-1, keepdims=True)
        weights = total / (number.clip(min=1) * safe)
    else:
        # Eq. 4, without the loss
        weights = (1 - BETA) / (1 - BETA**safe)
        total = (weights * present).sum(axis=-1, keepdims=True)
        weights = weights * number / total.clip(min=1e-12)
    return np.where(present, weights, 1.0)


def positive_weights(labels: Array, method: str) -> Array:
    """Return (C,) from flags (N, C): for each class the weight of its positives over the weight of its negatives.

    For balanced that is negatives / positives, the usual `pos_weight`. A class without both kinds has 1.
    """
    weights = class_weights(count_classes(labels, 2), method)
    ratios: Array = weights[:, 1] / weights[:, 0]
    return ratios
