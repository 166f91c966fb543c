"""Temperature, thresholds and class biases fitted on validation rows after training; they travel in the checkpoint.

Fitting needs SciPy, which is imported only then; using them needs NumPy only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer_ext.tasks.activations import Array

BINS = 15  # of the expected calibration error, as in the paper
BIAS_STEPS = np.linspace(-2, 2, 41)
"""Biases tried for a class, in nats: a factor of 1/7 to 7 on its probability."""
BIAS_ROUNDS = 3
LARGEST_TEMPERATURE = 20


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities and decisions; the default changes nothing.

    Attributes:
        temperature: logits are divided by it.
        thresholds: multi-label: the probability each class must exceed; None: 0.5.
        bias: single label: added to the (divided) logits of each class for the decision, not for the probabilities.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    bias: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values as stored in a checkpoint's config, without what is not set."""
        stored: dict[str, Any] = {"temperature": self.temperature}
        if self.thresholds is not None:
            stored["thresholds"] = list(self.thresholds)
        if self.bias is not None:
            stored["bias"] = list(self.bias)
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> "Calibration":
        """Return the inverse of `to_dict`; None is the default."""
        values: dict[str, Any] = {}
        # JSON has no tuples.
        for key, value in (stored or {}).items():
            values[key] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


def fit_temperature(nll: Callable[[float], float]) -> float:
    """Return the temperature in 1/20..20 of the smallest `nll(temperature)`.

    1 if that is at either end: rows that are all predicted correctly, with any confidence, do not determine one.

    Source: Guo et al., On Calibration of Modern Neural Networks (arXiv:1706.04599), section 4.2, eq. 9.
    """
    from scipy.optimize import minimize_scalar

    bound = np.log(LARGEST_TEMPERATURE)

    def objective(log_temperature: float) -> float:
        return nll(float(np.exp(log_temperature)))

    found = minimize_scalar(objective, bounds=(-bound, bound), method="bounded")
    # The search stops just short of a bound.
    if abs(found.x) > 0.99 * bound:
        return 1.0
    return round(float(np.exp(found.x)), 6)


def fit_thresholds(probabilities: Array, labels: Array) -> tuple[float, ...]:
    """Return the threshold of the best F1 for each class, from probabilities and 0/1 labels (N, C)."""
    columns = zip(probabilities.T, labels.T, strict=True)
    return tuple(best_threshold(of_class, flags) for of_class, flags in columns)


def best_threshold(probabilities: Array, labels: Array) -> float:
    """Return the threshold at which the F1 of one class is highest; of several, the one that accepts fewest rows.

    It lies half way between the last probability to accept and the next, so that rounding does not move a row across.

    Args:
        probabilities: (N,) of the class.
        labels: (N,) 0 or 1. Without a 1 the threshold is 0.5.
    """
    if not labels.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    accepted = np.arange(1, len(ranked) + 1)
    right = np.cumsum(labels[order])
    f1 = 2 * right / (accepted + labels.sum())
    # No threshold lies between two equal probabilities.
    is_tied = ranked[:-1] == ranked[1:]
    f1[:-1][is_tied] = -1
    last = int(f1.argmax())
    following = 0.0
    if last + 1 < len(ranked):
        following = ranked[last + 1]
    return float((ranked[last] + following) / 2)


def fit_bias(logits: Array, labels: Array) -> tuple[float, ...]:
    """Return a bias for each class that raises macro-F1, from logits (N, C) and class indices (N,).

    Coordinate ascent over a grid, three rounds through the classes, starting at 0; a class moves only for a better F1.
    """
    classes = logits.shape[1]
    bias = np.zeros(classes)
    best = macro_f1(logits.argmax(axis=1), labels, classes)
    for k in list(range(classes)) * BIAS_ROUNDS:
        # All other classes keep their bias, so their best is found once for all steps of this one.
        others = logits + bias
        others[:, k] = -np.inf
        second = others.argmax(axis=1)
        margin = others.max(axis=1)
        for step in BIAS_STEPS:
            is_best = logits[:, k] + step > margin
            predicted = np.where(is_best, k, second)
            score = macro_f1(predicted, labels, classes)
            # A class stays where it is if its F1 only differs by rounding.
            if score > best + 1e-9:
                best = score
                bias[k] = step
    return tuple(round(float(value), 6) for value in bias)


def macro_f1(predicted: Array, labels: Array, classes: int) -> float:
    """Return the mean F1 of the classes that occur in labels or predictions, as the metric `f1_macro`."""
    is_right = predicted == labels
    right = np.bincount(labels[is_right], minlength=classes)
    true = np.bincount(labels, minlength=classes)
    total = true + np.bincount(predicted, minlength=classes)
    occurs = total > 0
    f1 = 2 * right[occurs] / total[occurs]
    return float(f1.mean())


def expected_calibration_error(confidence: Array, right: Array) -> float:
    """Return the mean distance of confidence and accuracy over 15 bins of equal width, weighted by their items.

    Source: Guo et al. (arXiv:1706.04599), eq. 3.

    Args:
        confidence: (M,) probabilities.
        right: (M,) whether what they are probabilities of came true.
    """
    # A confidence of 1 belongs to the last bin.
    bins = (confidence * BINS).astype(int)
    bins = np.minimum(bins, BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
