"""How strange a text is to a model, and the threshold above which its answer is "I do not know".

Scores grow with strangeness. They need NumPy only, so that prediction and the server can use them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trainer_ext.tasks.activations import Array, sigmoid, softmax
from trainer_ext.tasks.ood_scores import OOD_SCORES

DISTANCE = "ood_distance"


class LogitsWithDistance(np.ndarray):
    """The logits of one row, with the distance of its vector; what is computed of them has none."""

    distance: Array


def first_head(arrays: Mapping[str, Array]) -> Array:
    """Return the logits of a row, which know its distance if the model has measured one."""
    logits = arrays["logits"]
    if DISTANCE not in arrays:
        return logits
    known = logits.view(LogitsWithDistance)
    known.distance = arrays[DISTANCE]
    return known


def distances_of(rows: Sequence[Array]) -> Array:
    """Return what the model measured of each row (N, 1), of its logits as `first_head` returned them."""
    return np.stack([row.distance for row in rows if isinstance(row, LogitsWithDistance)])


@dataclass(frozen=True)
class Rejection:
    """Which answers are refused.

    Attributes:
        score: one of `OOD_SCORES`.
        threshold: a text whose score is above it is rejected.
        rate: the share of validation rows for which the threshold was chosen, as `--reject_rate`.
    """

    score: str
    threshold: float
    rate: float

    def __post_init__(self) -> None:
        # It is read from a file, too.
        if self.score not in OOD_SCORES:
            raise ValueError(f"score {self.score!r} is not one of {', '.join(OOD_SCORES)}")
        if not np.isfinite(self.threshold):
            raise ValueError(f"threshold {self.threshold!r} is not a number")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values as stored in a checkpoint's config."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> "Rejection | None":
        """Return the inverse of `to_dict`; None stays None."""
        return None if stored is None else cls(**stored)


def softmax_scores(logits: Array, temperature: float, score: str) -> Array:
    """Return the score of each row (N,) from logits (N, ..., C); of several decisions (aspects) their mean.

    Args:
        logits: of the model.
        temperature: of its calibration; the energy is of the undivided logits.
        score: one of `OF_LOGITS`.
    """
    if score == "energy":
        return row_means(-log_sum_exp(logits))
    probabilities = softmax(logits / temperature)
    return row_means(1 - probabilities.max(axis=-1))


def sigmoid_scores(logits: Array, temperature: float, score: str) -> Array:
    """Return the same where any number of the C classes may be true, from logits (N, C).

    The energy is the joint one, -sum(log(1 + exp(logits))) (Wang et al. 2021, arXiv:2109.03478, eq. 8): a label that is
    far from true adds nothing.
    """
    logits = logits.astype(np.float64)
    if score == "energy":
        joint: Array = -np.logaddexp(0, logits).sum(axis=-1)
        return joint
    rest: Array = 1 - sigmoid(logits / temperature).max(axis=-1)
    return rest


def log_sum_exp(logits: Array) -> Array:
    """Return log(sum(exp(logits))) over the last axis, in float64."""
    # The largest is taken out, so that exp cannot overflow.
    largest = logits.max(axis=-1, keepdims=True).astype(np.float64)
    total = np.log(np.exp(logits - largest).sum(axis=-1))
    sums: Array = total + largest[..., 0]
    return sums


def row_means(values: Array) -> Array:
    """Return the mean of each row, (N,) of (N, ...)."""
    means: Array = values.reshape(len(values), -1).mean(axis=1)
    return means


def fit_threshold(scores: Array, rate: float) -> float:
    """Return the smallest of the scores (N,) above which at most the share `rate` of them lies."""
    # To a rounding: 0.29 * 100 is a little less than 29.
    rejected = int(rate * len(scores) + 1e-9)
    return float(np.sort(scores)[len(scores) - 1 - rejected])
