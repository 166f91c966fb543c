"""What a variant does to each class, aspect, target or slot: the mean over all may hide one that is lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer_ext.evaluation.resampling import resampled_metrics
from trainer_ext.export.bootstrap import bounds, points_lost
from trainer_ext.tables import table
from trainer_ext.tasks import Task

SHOWN = 5  # of the worst, on the screen


@dataclass
class Delta:
    """One metric of the task before (PyTorch) and after (the variant).

    Attributes:
        metric: its name, as `train.py` reports it: `f1_<class>`, `f1_macro_<aspect>`, `rmse_<target>`.
        before, after: on the evaluation rows.
        loss_points: what is lost, in points; a gain is below zero.
        loss_low, loss_high: 95% bounds, each by itself.
    """

    metric: str
    before: float
    after: float
    loss_points: float
    loss_low: float
    loss_high: float


def all_deltas(task: Task, logits: Any, reference: Any, labels: Any) -> list[Delta]:
    """Return the change of each metric that adds up over rows, largest loss first.

    Args:
        task: of the model.
        logits: of the variant.
        reference: PyTorch's on the same rows.
        labels: of the rows.
    """
    before, after = resampled_metrics(task, logits, reference, labels)
    deltas = []
    for name in before:
        lost = points_lost(task, name, before[name], after[name], labels)
        low, high = bounds(lost[1:])
        first = float(before[name][0])
        last = float(after[name][0])
        deltas.append(Delta(name, first, last, float(lost[0]), low, high))
    # Stable, so that equal ones stay in the task's order.
    deltas.sort(key=lambda delta: -np.nan_to_num(delta.loss_points, nan=np.inf))
    return deltas


def worst(deltas: Sequence[Delta], allowed: float) -> list[Delta]:
    """Return the five that lose most if any of them loses more than is allowed; none otherwise."""
    most = list(deltas[:SHOWN])
    if any(not delta.loss_points <= allowed for delta in most):
        return most
    return []


def deltas_table(deltas: Sequence[Delta]) -> str:
    """Format changes, one a line."""
    headers = ("metric", "before", "after", "points lost", "at least", "at most")
    rows = []
    for delta in deltas:
        row = (
            delta.metric,
            f"{delta.before:.4f}",
            f"{delta.after:.4f}",
            f"{delta.loss_points:.2f}",
            f"{delta.loss_low:.2f}",
            f"{delta.loss_high:.2f}",
        )
        rows.append(row)
    return table(rows, headers)
