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
    """Return the task of each fold, with `what` fitted on the other folds of its repeat.

    Args:
        tasks: by model, in order, `folds` of each repeat.
        logits: by model, (N, *head_shape) on its validation rows.
        labels: by model, of these rows.
        what: temperature, thresholds or both, as `--calibrate` has it.
        folds: in one repeat.
    """
    names = list(tasks)
    fitted = {}
    for k, name in enumerate(names):
        # Other repeats hold the same rows again: fitted on them, a row would be decided by itself.
        start = k - k % folds
        others = [other for other in names[start : start + folds] if other != name]
        rows = np.concatenate([logits[other] for other in others])
        gold = np.concatenate([labels[other] for other in others])
        task = tasks[name]
        fitted[name] = type(task)(task.label_space, task.fit_calibration(rows, gold, what))
    return fitted


def with_own_decisions(task: Task, row_tasks: Sequence[Task]) -> Task:
    """Return `task` for outputs of rows that each have thresholds or biases of their own.

    Args:
        task: of all rows.
        row_tasks: of each row, whose thresholds (C) or biases (C) are stacked to (N, C).
    """
    given = [row.calibration for row in row_tasks]
    thresholds: Any = None
    bias: Any = None
    if given[0].thresholds:
        thresholds = tuple(calibration.thresholds for calibration in given)
    if given[0].bias:
        bias = tuple(calibration.bias for calibration in given)
    # The temperature is left out: combining the models' outputs has applied it already.
    return type(task)(task.label_space, Calibration(1.0, thresholds, bias))
