"""Numbers for a text: one score for each of several targets."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.base import Task
from trainer_ext.tasks.label_space import LabelSpace


class Regression(Task):
    """Logits (T,) are the scores themselves, on the scale of the labels; targets are the label columns."""

    name = "regression"
    default_metric = "mcrmse"
    problem_type = "regression"
    greater_is_better = False

    @classmethod
    def make_space(
        cls, columns: Sequence[str], names: Sequence[str] | None, rows: Iterable[Sequence], separator: str = ","
    ) -> LabelSpace:
        """Targets are the columns; there are no classes to name."""
        if names:
            raise UserError(f"label_names {list(names)} name classes, but regression has none; drop it")
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
        return [self.encode_number(*pair) for pair in zip(self.label_space.columns, values, strict=True)]

    def encode_number(self, column: str, value: Any) -> float:
        """One target, or a `UserError` naming column and value."""
        number = to_number(value)
        if not math.isfinite(number):
            raise UserError(f"column {column!r} has {value!r}; expected a finite number")
        return number

    def is_label(self, value: str) -> bool:
        """Whether a text is a finite number."""
        return math.isfinite(to_number(value))

    def compute_metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """mcrmse and pearson as means over targets, rmse_<target>; labels are (N, T)."""
        from trainer_ext.tasks.metrics import Pearson, Rmse

        given = {"predictions": logits, "references": labels}
        return Rmse(self.label_space.columns).compute(**given) | Pearson().compute(**given)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(N, T) scores."""
        return logits

    def agreement(self, logits: np.ndarray, reference: np.ndarray) -> float:
        """Share of scores within 1% of the reference's (or 0.001 where that is more)."""
        return float(np.isclose(logits, reference, rtol=0.01, atol=0.001).mean())

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
