"""Numbers for a text: one score for each of several targets."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.base import Task
from trainer_ext.tasks.label_space import LabelSpace

ALL_BUT_CONSTANT = 1e-3  # of the labels' range


class Regression(Task):
    """Logits (T,) are the scores themselves, on the scale of the labels; targets are the label columns."""

    name = "regression"
    default_metric = "mcrmse"
    problem_type = "regression"
    greater_is_better = False

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

    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """`{"scores": {target: value}}`."""
        scores = zip(self.label_space.columns, logits, strict=True)
        return {"scores": {name: round(float(score), 6) for name, score in scores}}


def to_number(value: Any) -> float:
    """A raw value as a number; NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
