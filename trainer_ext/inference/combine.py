"""Outputs of several models for the same row made one. Needs NumPy only.

The result has the form of a single model's output (logits), so that the task decodes, scores and calibrates it as ever:
probabilities p come back as log p (log(p / (1 - p)) for multi_label), whose softmax (sigmoid) they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks import Calibration, Task
from trainer_ext.tasks.label_space import outputs_of
from trainer_ext.tasks.multi_label import THRESHOLD

WAYS = ("mean", "logits", "vote", "weighted")
TIE_BREAK = 1e-3  # of a vote: what the probabilities count beside the votes
SMALLEST = 1e-12


def joint_task(names: Sequence[str], tasks: Sequence[Task], how: str = "mean") -> Task:
    """The task of the ensemble: the members' label space, the mean of their thresholds and biases.

    With `how` vote there are none: each member has decided with its own, and of its shares of votes the half decides.

    Raises:
        UserError: when tasks or label spaces differ, naming both models.
    """
    first = tasks[0]
    for name, task in zip(names, tasks, strict=True):
        for what, one, other in (
            ("task", first.name, task.name),
            (
                "labels",
                outputs_of(first.label_space.to_dict()),
                outputs_of(task.label_space.to_dict()),
            ),
        ):
            if one != other:
                raise UserError(
                    f"models {names[0]} and {name} cannot answer together: their {what} differ: {one} and {other}"
                )
    if how == "vote":
        return type(first)(first.label_space)
    given = [task.calibration for task in tasks]
    thresholds = bias = None
    if any(c.thresholds for c in given):
        classes = len(first.label_space.classes)
        thresholds = mean_of([c.thresholds or (THRESHOLD,) * classes for c in given])
    if any(c.bias for c in given):
        bias = mean_of([c.bias or (0.0,) * len(first.label_space.classes) for c in given])
    return type(first)(first.label_space, Calibration(1.0, thresholds, bias))


def mean_of(vectors: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Element by element."""
    return tuple(np.mean(vectors, axis=0).tolist())


def combine(
    tasks: Sequence[Task],
    outputs: Sequence[Any],
    how: str = "mean",
    weights: Sequence[float] | None = None,
):
    """One output from those of each model for the same row (or, but for `joint`, for the same rows).

    Args:
        tasks: of each model, with its calibration.
        outputs: of each model: logits (..., *head_shape); for `joint` the pair of a row.
        how: mean (of probabilities; of scores in regression), logits (their mean), vote (of decisions; between equals
            the mean of the probabilities decides, each shifted by the model's thresholds or bias), weighted (mean of
            probabilities with `weights`).
        weights: of each model, for weighted.
    """
    shares = np.asarray(weights) / np.sum(weights) if how == "weighted" else None
    divided = [task.heads(output) for task, output in zip(tasks, outputs, strict=True)]
    combined = [combine_head(tasks, heads, how, shares) for heads in zip(*divided, strict=True)]
    return tasks[0].from_heads(combined)


def combine_head(
    tasks: Sequence[Task], heads: Sequence[np.ndarray], how: str, weights: np.ndarray | None
) -> np.ndarray:
    """`combine` for one array a model, classes in the last axis."""
    whole = tasks[0]
    scaled = [head / task.calibration.temperature for task, head in zip(tasks, heads, strict=True)]
    if how == "logits":
        return np.mean(scaled, axis=0)
    if how == "vote":
        scaled = [task.decision_logits(head) for task, head in zip(tasks, scaled, strict=True)]
    values = np.average([whole.ensemble_values(head) for head in scaled], axis=0, weights=weights)
    if how == "vote":
        votes = np.mean([task.votes(head) for task, head in zip(tasks, heads, strict=True)], axis=0)
        values = (votes + TIE_BREAK * values) / (1 + TIE_BREAK)
    return whole.from_ensemble_values(values)


def inverse_loss_weights(losses: Sequence[float]) -> list[float]:
    """Weights of models that were each scored on rows of their own: 1 / loss, which sum to 1."""
    inverse = 1 / np.maximum(losses, SMALLEST)
    return (inverse / inverse.sum()).tolist()


def fit_weights(
    tasks: Sequence[Task], outputs: Sequence[np.ndarray], labels: np.ndarray
) -> list[float]:
    """The weights (at least 0, sum 1) of the smallest loss of the weighted mean, for models scored on the same rows.

    SLSQP from equal weights; the problem is convex. 1 / loss instead where outputs of rows differ in shape (`joint`).
    """
    if tasks[0].ragged_outputs:
        losses = [task.ensemble_loss(out, labels) for task, out in zip(tasks, outputs, strict=True)]
        return inverse_loss_weights(losses)
    from scipy.optimize import minimize

    whole, count = joint_task([""] * len(tasks), tasks), len(tasks)
    found = minimize(
        lambda w: whole.ensemble_loss(
            combine(tasks, outputs, "weighted", np.maximum(w, SMALLEST)), labels
        ),
        np.full(count, 1 / count),
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
    )
    weights = np.maximum(found.x, 0)
    return (weights / weights.sum()).tolist()
