"""Numbers for a text: one score for each of several targets."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.base import Task
from trainer_ext.tasks.figures import Figure, Scatter
from trainer_ext.tasks.label_space import LabelSpace

BINS = 10
ALL_BUT_CONSTANT = 1e-3  # of the labels' range


class Regression(Task):
    """Logits (T,) are the scores themselves, on the scale of the labels; targets are the label columns."""

    name = "regression"
    default_metric = "mcrmse"
    problem_type = "regression"
    greater_is_better = False
    loss_family = "distance"
    has_classes = False
    takes_label_names = False

    @classmethod
    def has_one_label(cls, columns: Sequence[str]) -> bool:
        """Return whether there is one target."""
        return len(columns) == 1

    @classmethod
    def make_space(
        cls,
        columns: Sequence[str],
        names: Sequence[str] | None,
        rows: Iterable[Sequence],
        separator: str = ",",
    ) -> LabelSpace:
        """Targets are the columns; there are no classes to name."""
        if names:
            raise UserError(
                f"label_names {list(names)} name classes, but regression has none; drop it"
            )
        return LabelSpace(tuple(columns), (), ())

    @property
    def head_shape(self) -> tuple[int, ...]:
        """(targets,)"""
        return (len(self.label_space.columns),)

    def head_scale(self, labels: Sequence) -> dict[str, list[float]]:
        """Mean and standard deviation of each target: the head learns what is left (a constant target keeps 1)."""
        targets = np.asarray(labels, dtype=np.float64)
        std = targets.std(axis=0)
        return {
            "logit_mean": targets.mean(axis=0).tolist(),
            "logit_scale": np.where(std > 0, std, 1.0).tolist(),
        }

    @classmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """MCRMSE, Pearson's r, and the RMSE of each target."""
        return ["mcrmse", "pearson", *(f"rmse_{column}" for column in columns)]

    def encode(self, values: Sequence) -> list[float]:
        """A finite number for each target."""
        return [
            self.encode_number(*pair) for pair in zip(self.label_space.columns, values, strict=True)
        ]

    def encode_number(self, column: str, value: Any) -> float:
        """One target, or a `UserError` naming column and value."""
        number = to_number(value)
        if not math.isfinite(number):
            raise UserError(f"column {column!r} has {value!r}; expected a finite number")
        return number

    def is_label(self, value: str) -> bool:
        """Whether a text is a finite number."""
        return math.isfinite(to_number(value))

    def metrics_of(self, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """mcrmse and pearson as means over targets, rmse_<target>; labels are (N, T)."""
        from trainer_ext.tasks.metrics import Pearson, Rmse

        given = {"predictions": scores, "references": labels}
        return Rmse(self.label_space.columns).compute(**given) | Pearson().compute(**given)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(N, T) scores."""
        return logits

    def parts(self, logits: np.ndarray) -> list[np.ndarray]:
        """Each target's scores."""
        return list(logits.T)

    def spreads(self, logits: np.ndarray, labels: np.ndarray) -> list[float]:
        """Of each target's scores or labels, whichever is larger: scores that hardly differ may miss by as little."""
        return np.maximum(logits.std(axis=0), labels.std(axis=0)).tolist()

    def metric_unit(self, labels: np.ndarray) -> float:
        """The labels' standard deviation, a mean over targets like the metric; their size where they are constant."""
        spread = labels.std(axis=0).mean() or np.abs(labels).mean()
        return float(spread) or 1.0

    def one_answer(self, logits: np.ndarray, labels: np.ndarray) -> str:
        """Scores that hardly differ, beside labels that do."""
        constant = np.ptp(logits, axis=0) <= ALL_BUT_CONSTANT * np.ptp(labels, axis=0)
        return "all but the same scores" if constant.all() and np.ptp(labels, axis=0).any() else ""

    def agreement(self, logits: np.ndarray, reference: np.ndarray) -> float:
        """Share of scores within 1% of the reference's (and a thousandth of their spread: 1% of 0 is nothing)."""
        return float(
            np.isclose(logits, reference, rtol=0.01, atol=0.001 * reference.std(axis=0)).mean()
        )

    def strata(self, labels: Sequence) -> np.ndarray:
        """Return the bin (N, T) of each score."""
        return np.stack([binned(column) for column in np.asarray(labels).T], axis=1)

    def to_columns(self, output: np.ndarray, as_list: bool = False) -> dict[str, float]:
        """Write a score for each target."""
        scores = zip(self.label_space.columns, output, strict=True)
        return {target: round(float(score), 6) for target, score in scores}

    def probability_columns(self, output: np.ndarray) -> dict[str, float]:
        """Return none: scores have no probabilities."""
        return {}

    def oof_columns(self) -> list[str]:
        """Return the predicted targets."""
        return [f"pred_{target}" for target in self.label_space.columns]

    def ensemble_values(self, logits: np.ndarray) -> np.ndarray:
        """Return the scores themselves."""
        return logits

    def from_ensemble_values(self, values: np.ndarray) -> np.ndarray:
        """Return the scores themselves."""
        return values

    def ensemble_loss(self, outputs: np.ndarray, labels: np.ndarray) -> float:
        """Return the mean squared error."""
        return float(((outputs - labels) ** 2).mean())

    def class_pairs(self, labels: Any, logits: Any) -> None:
        """Return None: there are no classes."""

    def figures(
        self, labels: np.ndarray, logits: np.ndarray, metrics: Mapping[str, float]
    ) -> list[Figure]:
        """Describe predicted over true scores."""
        return [Scatter(np.asarray(labels), logits, self.label_space.columns)]

    def readable(self, labels: np.ndarray) -> list[float]:
        """Return the numbers."""
        return [float(score) for score in labels]

    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """`{"scores": {target: value}}`."""
        scores = zip(self.label_space.columns, logits, strict=True)
        return {"scores": {name: round(float(score), 6) for name, score in scores}}


def binned(values: np.ndarray) -> np.ndarray:
    """Return the bin (N,) of each number: the values themselves if there are few, else tenths of the rows."""
    known = np.unique(values)
    if len(known) <= BINS:
        return np.searchsorted(known, values)
    inner_edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(np.unique(inner_edges), values)


def to_number(value: Any) -> float:
    """A raw value as a number; NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
