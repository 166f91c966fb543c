"""Numbers for a text: one score for each of several targets."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.activations import Array
from trainer_ext.tasks.base import Task, rounded
from trainer_ext.tasks.decisions import Decisions, NumberDecisions
from trainer_ext.tasks.figures import Figure, Scatter
from trainer_ext.tasks.label_space import LabelSpace
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tasks.tallies import Metrics

BINS = 10
"""Strata of a target with many different numbers."""
ALL_BUT_CONSTANT = 1e-3
"""Scores within this share of the labels' range are told apart by rounding only."""


class Regression(Task):
    """Logits (T,) are the scores themselves, on the scale of the labels; targets are the label columns."""

    name = "regression"
    default_metric = "mcrmse"
    greater_is_better = False
    problem_type = "regression"
    loss_family = "distance"
    has_classes = False
    takes_label_names = False

    @classmethod
    def make_space(
        cls,
        columns: Sequence[str],
        names: Sequence[str] | None,
        rows: Iterable[Sequence[Any]],
        separator: str = ",",
    ) -> LabelSpace:
        """Return the targets, which are the columns; there are no classes to name."""
        if names:
            raise UserError(
                f"label_names {list(names)} name classes, but regression has none; drop it"
            )
        return LabelSpace(tuple(columns), (), ())

    @classmethod
    def has_one_label(cls, columns: Sequence[str]) -> bool:
        """Return whether there is one target."""
        return len(columns) == 1

    @property
    def head_shape(self) -> tuple[int, ...]:
        """(targets,)"""
        return (len(self.label_space.columns),)

    def head_scale(self, labels: Sequence[Any]) -> dict[str, list[float]]:
        """Return mean and standard deviation of each target: the head learns what is left.

        A constant target keeps a scale of 1.
        """
        # A head that starts near 0 needs many steps to reach scores around 60.
        targets = np.asarray(labels, dtype=np.float64)
        std = targets.std(axis=0)
        return {
            "logit_mean": targets.mean(axis=0).tolist(),
            "logit_scale": np.where(std > 0, std, 1.0).tolist(),
        }

    @classmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """Return MCRMSE, Pearson's r, and the RMSE of each target."""
        by_target = [f"rmse_{column}" for column in columns]
        return ["mcrmse", "pearson", *by_target]

    def encode(self, values: Sequence[Any]) -> list[float]:
        """Return a finite number for each target."""
        pairs = zip(self.label_space.columns, values, strict=True)
        return [self.encode_number(column, value) for column, value in pairs]

    def encode_number(self, column: str, value: Any) -> float:
        """Return one target, or raise `UserError` naming column and value."""
        number = to_number(value)
        # One NaN or infinity makes the loss and every metric NaN.
        if not math.isfinite(number):
            raise UserError(f"column {column!r} has {value!r}; expected a finite number")
        return number

    def is_label(self, value: str) -> bool:
        """Return whether a text is a finite number."""
        return math.isfinite(to_number(value))

    def strata(self, labels: Sequence[Any]) -> Array:
        """Return the bin (N, T) of each score."""
        columns = np.asarray(labels).T
        return np.stack([binned(column) for column in columns], axis=1)

    def metrics_of(self, reduced: Array, labels: Array) -> dict[str, float]:
        """Return mcrmse and pearson as means over targets, and rmse_<target>; scores and labels are (N, T)."""
        from trainer_ext.tasks.metrics import Pearson, Rmse

        given = {"predictions": reduced, "references": labels}
        rmse = Rmse(self.label_space.columns).compute(**given)
        pearson = Pearson().compute(**given)
        return {**rmse, **pearson}

    def is_right(self, reduced: Array, labels: Array) -> None:
        """Return None: a score is close or far, never quite right."""

    def tally(self, reduced: Array, labels: Array) -> Array:
        """Return the squared error of each target, and 1, (N, T + 1)."""
        errors = np.asarray(reduced, dtype=np.float64) - labels
        ones = np.ones((len(errors), 1))
        return np.hstack([errors**2, ones])

    def metrics_of_sums(self, sums: Array) -> Metrics:
        """Return mcrmse and rmse_<target>."""
        rmse = np.sqrt(sums[:, :-1] / sums[:, -1:])
        metrics = {"mcrmse": rmse.mean(axis=1)}
        for index, target in enumerate(self.label_space.columns):
            metrics[f"rmse_{target}"] = rmse[:, index]
        return metrics

    def changed(self, logits: Array, reference: Array) -> Array:
        """Return for each row whether any score is further from the reference's than `agreement` allows (N,)."""
        is_far = np.logical_not(self.is_close(logits, reference))
        return np.asarray(is_far.any(axis=1))

    def predictions(self, logits: Array) -> Array:
        """Return the scores (N, T)."""
        return logits

    def parts(self, logits: Array) -> list[Array]:
        """Return each target's scores."""
        return list(logits.T)

    def spreads(self, logits: Array, labels: Array) -> list[float]:
        """Return the spread of each target's scores or labels, whichever is larger.

        Scores that hardly differ from each other may differ from a second model's by more than their own spread.
        """
        of_scores = logits.std(axis=0)
        of_labels = labels.std(axis=0)
        larger: list[float] = np.maximum(of_scores, of_labels).tolist()
        return larger

    def metric_unit(self, labels: Array) -> float:
        """Return the labels' standard deviation, a mean over targets like the metric; of constant ones their size."""
        spread = labels.std(axis=0).mean()
        if not spread:
            spread = np.abs(labels).mean()
        # All labels may be 0.
        return float(spread) or 1.0

    def metric_units(self, labels: Array) -> dict[str, float]:
        """Return the labels' standard deviation for the error of each target."""
        units = {}
        for target, column in zip(self.label_space.columns, labels.T, strict=True):
            units[f"rmse_{target}"] = self.metric_unit(column[:, None])
        return units

    def one_answer(self, logits: Array, labels: Array) -> str:
        """Describe scores that hardly differ although the labels do."""
        ranges = np.ptp(labels, axis=0)
        is_constant = np.ptp(logits, axis=0) <= ALL_BUT_CONSTANT * ranges
        if is_constant.all() and ranges.any():
            return "all but the same scores"
        return ""

    def agreement(self, logits: Array, reference: Array) -> float:
        """Return the share of scores within 1% of the reference's."""
        return float(self.is_close(logits, reference).mean())

    @staticmethod
    def is_close(logits: Array, reference: Array) -> Array:
        """Return whether each score (N, T) is within 1% of the reference's."""
        # Of a score of 0 one percent is nothing: a thousandth of the scores' spread is allowed as well.
        smallest = 0.001 * reference.std(axis=0)
        return np.asarray(np.isclose(logits, reference, rtol=0.01, atol=smallest))

    def to_columns(self, output: Array, as_list: bool = False) -> dict[str, float]:
        """Write a score for each target."""
        return rounded(self.label_space.columns, output)

    def probability_columns(self, output: Array) -> dict[str, float]:
        """Return none: scores have no probabilities."""
        return {}

    def oof_columns(self) -> list[str]:
        """Return the predicted targets."""
        return [f"pred_{target}" for target in self.label_space.columns]

    def ensemble_values(self, logits: Array) -> Array:
        """Return the scores themselves."""
        return logits

    def from_ensemble_values(self, values: Array) -> Array:
        """Return the scores themselves."""
        return values

    def ensemble_loss(self, outputs: Array, labels: Array) -> float:
        """Return the mean squared error."""
        return float(((outputs - labels) ** 2).mean())

    def decisions(self, scored: ScoredRows) -> list[Decisions]:
        """Describe the scores."""
        return [NumberDecisions(self.label_space.columns, *self.true_and_predicted(scored))]

    def class_pairs(self, scored: ScoredRows) -> None:
        """Return None: there are no classes."""

    def figures(self, scored: ScoredRows) -> list[Figure]:
        """Describe predicted over true scores."""
        true, predicted = self.true_and_predicted(scored)
        return [Scatter(true, predicted, self.label_space.columns)]

    def readable(self, labels: Array) -> list[float]:
        """Return the numbers."""
        return [float(score) for score in labels]

    def decode(self, logits: Array) -> dict[str, Any]:
        """Return `{"scores": {target: value}}`."""
        return {"scores": rounded(self.label_space.columns, logits)}


def binned(values: Array) -> Array:
    """Return the bin (N,) of each number: the values themselves if there are few, else tenths of the rows."""
    known = np.unique(values)
    if len(known) <= BINS:
        return np.searchsorted(known, values)
    # Not k / BINS, which rounds otherwise: rows that were kept back for validation must be found again.
    shares = np.linspace(0, 1, BINS + 1)[1:-1]
    # A value that many rows share can be several of the edges.
    inner_edges = np.unique(np.quantile(values, shares))
    return np.searchsorted(inner_edges, values)


def to_number(value: Any) -> float:
    """Return a raw value as a number; NaN if it is not one."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
