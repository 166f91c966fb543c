"""Temperature, thresholds and class biases fitted on validation rows after training; they travel in the checkpoint.

Fitting needs SciPy, which is imported only then; using them needs NumPy only.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BINS = 15
STEPS = np.linspace(-2, 2, 41)  # biases tried for a class, in nats
ROUNDS = 3


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
        """As stored in a checkpoint's config: plain values, without what is not set."""
        stored = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
        return {key: value for key, value in stored.items() if value is not None}

    @classmethod
    def from_dict(cls, stored: dict[str, Any] | None) -> "Calibration":
        """The inverse of `to_dict`; None is the default."""
        items = (stored or {}).items()
        return cls(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in items}
        )


def fit_temperature(nll: Callable[[float], float]) -> float:
    """The temperature in 1/20..20 of the smallest `nll(temperature)`.

    1 where that is at either end: rows that are all predicted right, with any confidence, do not determine one.

    Source: Guo et al., On Calibration of Modern Neural Networks (arXiv:1706.04599), section 4.2, eq. 9.
    """
    from scipy.optimize import minimize_scalar

    bound = np.log(20)
    found = minimize_scalar(
        lambda log_t: nll(float(np.exp(log_t))), bounds=(-bound, bound), method="bounded"
    )
    return 1.0 if abs(found.x) > 0.99 * bound else round(float(np.exp(found.x)), 6)


def fit_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """For each class the threshold of the best F1, from probabilities and 0/1 labels (N, C); without positives 0.5."""
    return tuple(best_threshold(probabilities[:, k], labels[:, k]) for k in range(labels.shape[1]))


def best_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Half way between the last probability (N,) to accept and the next, where F1 is highest (then fewest accepted)."""
    if not labels.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    accepted = np.arange(1, len(ranked) + 1)
    f1 = 2 * np.cumsum(labels[order]) / (accepted + labels.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # equal probabilities cannot be told apart
    last = int(f1.argmax())
    following = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    return float((ranked[last] + following) / 2)


def fit_bias(logits: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """A bias for each class that raises macro-F1, from logits (N, C) and class indices (N,).

    Coordinate ascent over a grid, three rounds through the classes, starting at 0; a class moves only for a better F1.
    """
    classes = logits.shape[1]
    bias = np.zeros(classes)
    best = macro_f1(logits.argmax(axis=1), labels, classes)
    for k in list(range(classes)) * ROUNDS:
        others = logits + bias
        own = logits[:, k]
        others[:, k] = -np.inf
        second, margin = others.argmax(axis=1), others.max(axis=1)
        for step in STEPS:
            score = macro_f1(np.where(own + step > margin, k, second), labels, classes)
            if score > best + 1e-9:
                best, bias[k] = score, step
    return tuple(round(float(value), 6) for value in bias)


def macro_f1(predicted: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Mean F1 of the classes that occur in labels or predictions, as the metric `f1_macro`."""
    right = np.bincount(labels[predicted == labels], minlength=classes)
    total = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    return float((2 * right[total > 0] / total[total > 0]).mean())


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of confidence and accuracy over 15 bins of equal width, weighted by the items in each.

    Source: Guo et al. (arXiv:1706.04599), eq. 3.

    Args:
        confidence: (M,) probabilities.
        right: (M,) whether what they are probabilities of came true.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
