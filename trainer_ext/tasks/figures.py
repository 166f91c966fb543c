"""Pictures of a model's validation predictions as a task describes them; `reports/run_report.py` draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ConfusionMatrix:
    """True and predicted class indices, (N,) each, of the task's classes."""

    true: np.ndarray
    predicted: np.ndarray
    file_name: str = "confusion_matrix.png"


@dataclass(frozen=True)
class ScoreBars:
    """A score for each name, and the mean that is marked among them."""

    scores: Mapping[str, float]
    mean: float
    title: str
    file_name: str


@dataclass(frozen=True)
class Scatter:
    """True and predicted numbers, (N, T) each, one panel for each of T targets."""

    true: np.ndarray
    predicted: np.ndarray
    targets: Sequence[str]
    file_name: str = "predictions.png"


Figure = ConfusionMatrix | ScoreBars | Scatter
