"""Calibration of out-of-fold predictions, cross-fitted: what decides a fold's rows is fitted on those of the others.

Each fold's model keeps what was fitted on its own validation rows; on these very rows it would look better than it is,
most of all on rare classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer_ext.tasks import Calibration, Task


def cross_fitted(
    tasks: Mapping[str, Task],
    logits: Mapping[str, np.ndarray],
    labels: Mapping[str, Any],
    what: str,
    folds: int,
) -> dict[str, Task]:
    """The task of each fold, with `what` (temperature, thresholds or both) fitted on the other folds of its repeat.

    Args:
        tasks: by model, in order, `folds` of each repeat.
        logits: by model, (N, *head_shape) on its validation rows.
        labels: by model, of these rows.
        what: as `--calibrate`.
        folds: in one repeat.
    """
    names, fitted = list(tasks), {}
    for k, name in enumerate(names):
        start = k - k % folds
        others = [other for other in names[start : start + folds] if other != name]
        rows, gold = (
            np.concatenate([part[other] for other in others]) for part in (logits, labels)
        )
        fitted[name] = type(tasks[name])(
            tasks[name].label_space, tasks[name].fit_calibration(rows, gold, what)
        )
    return fitted


def with_own_decisions(task: Task, of_rows: Sequence[Task]) -> Task:
    """`task` for outputs of rows that each have thresholds or biases of their own, those of the tasks `of_rows`."""
    given = [row.calibration for row in of_rows]
    thresholds = tuple(c.thresholds for c in given) if given[0].thresholds else None
    bias = tuple(c.bias for c in given) if given[0].bias else None
    return type(task)(task.label_space, Calibration(1.0, thresholds, bias))
