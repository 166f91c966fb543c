"""Combine the outputs of several models for the same row. Needs NumPy only.

The result has the form of a single model's output (logits), so that the task decodes, scores and calibrates it as
usual: probabilities p come back as log p (log(p / (1 - p)) for multi_label), whose softmax (sigmoid) they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks import Calibration, Task
from trainer_ext.tasks.label_space import outputs_of
from trainer_ext.tasks.multi_label import THRESHOLD

Vector = tuple[float, ...]

WAYS = ("mean", "logits", "vote", "weighted")
# How much the probabilities count beside the votes: they decide between classes with equal votes, and nothing else.
TIE_BREAK = 1e-3
SMALLEST = 1e-12  # loss, and weight while fitting: neither may be divided by 0


def ensemble_task(names: Sequence[str], tasks: Sequence[Task], how: str = "mean") -> Task:
    """Return the task of an ensemble: the members' label space, the mean of their thresholds and biases.

    With `how` vote it has neither: each member decides with its own, and of its shares of votes half decides.

    Raises:
        UserError: if tasks or label spaces differ, naming both models.
    """
    first = tasks[0]
    for name, task in zip(names, tasks, strict=True):
        check_same_labels(names[0], first, name, task)
    task_class = type(first)
    if how == "vote":
        return task_class(first.label_space)
    all_thresholds = []
    all_biases = []
    for task in tasks:
        all_thresholds.append(task.calibration.thresholds)
        all_biases.append(task.calibration.bias)
    thresholds = mean_of(all_thresholds, default=THRESHOLD)
    bias = mean_of(all_biases, default=0.0)
    # Temperature 1: each member's logits are divided by its own before they are combined.
    return task_class(first.label_space, Calibration(1.0, thresholds, bias))


def check_same_labels(first_name: str, first: Task, other_name: str, other: Task) -> None:
    """Raise `UserError` unless two models answer the same question."""
    own = asked_of(first)
    others = asked_of(other)
    for what, value in own.items():
        if value != others[what]:
            raise UserError(
                f"models {first_name} and {other_name} cannot be combined: "
                f"their {what} differ: {value} and {others[what]}"
            )


def asked_of(task: Task) -> dict[str, Any]:
    """Return what members must have in common."""
    space = task.label_space.to_dict()
    return {"tasks": task.name, "labels": outputs_of(space)}


def mean_of(vectors: Sequence[Vector | None], default: float) -> Vector | None:
    """Return the mean of one vector a member, element by element; None if no member has one.

    `default` is each element of a member without a vector.
    """
    given = [vector for vector in vectors if vector]
    if not given:
        return None
    # A member that was not calibrated decides as if it had been, with the default as the result.
    missing = len(vectors) - len(given)
    of_default = (default,) * len(given[0])
    given += [of_default] * missing
    mean = np.mean(given, axis=0)
    return tuple(mean.tolist())


def combine(
    tasks: Sequence[Task],
    outputs: Sequence[Any],
    how: str = "mean",
    weights: Sequence[float] | np.ndarray | None = None,
) -> Any:
    """Combine each model's output for the same row (or, except for `joint`, for the same rows) into one.

    Args:
        tasks: of each model, with its calibration.
        outputs: of each model: logits (..., *head_shape); for `joint` the pair of a row.
        how: mean (of probabilities; of scores in regression), logits (their mean), vote (of decisions; between equals
            the mean of the probabilities decides, each shifted by the model's thresholds or bias), weighted (mean of
            probabilities with `weights`).
        weights: of each model, for weighted.
    """
    shares = None
    if how == "weighted" and weights is not None:
        shares = np.asarray(weights) / np.sum(weights)
    heads_by_model = []
    for task, output in zip(tasks, outputs, strict=True):
        heads_by_model.append(task.heads(output))
    # `joint` has two heads, each combined by itself; every other task has one.
    combined = []
    for heads in zip(*heads_by_model, strict=True):
        head = combine_head(tasks, heads, how, shares)
        combined.append(head)
    return tasks[0].from_heads(combined)


def combine_head(
    tasks: Sequence[Task],
    heads: Sequence[np.ndarray],
    how: str,
    weights: np.ndarray | None,
) -> np.ndarray:
    """Combine one array a model, with the classes in the last axis."""
    whole = tasks[0]
    scaled: list[np.ndarray] = []
    probabilities: list[np.ndarray] = []
    votes: list[np.ndarray] = []
    for task, head in zip(tasks, heads, strict=True):
        logits = head / task.calibration.temperature
        scaled.append(logits)
        if how == "vote":
            votes.append(task.votes(head))
            # Between equal votes a model counts by how far it is beyond its own threshold or bias.
            logits = task.decision_logits(logits)
        values = whole.ensemble_values(logits)
        probabilities.append(values)
    if how == "logits":
        mean_logits: np.ndarray = np.mean(scaled, axis=0)
        return mean_logits
    values = np.average(probabilities, axis=0, weights=weights)
    if how == "vote":
        shares = np.mean(votes, axis=0)
        values = (shares + TIE_BREAK * values) / (1 + TIE_BREAK)
    return whole.from_ensemble_values(values)


def inverse_loss_weights(losses: Sequence[float]) -> list[float]:
    """Return weights 1 / loss, which sum to 1, of models that were each scored on rows of their own."""
    inverse = 1 / np.maximum(losses, SMALLEST)
    return as_shares(inverse)


def fit_weights(
    tasks: Sequence[Task],
    outputs: Sequence[np.ndarray],
    labels: np.ndarray,
) -> list[float]:
    """Fit the weights (at least 0, sum 1) of the weighted mean with the smallest loss.

    SLSQP from equal weights; the problem is convex. Weights are 1 / loss if outputs of rows differ in shape (`joint`).

    Args:
        tasks: of each model.
        outputs: logits (N, *head_shape) of each model for the same rows.
        labels: (N, ...).
    """
    if tasks[0].ragged_outputs:
        losses = []
        for task, output in zip(tasks, outputs, strict=True):
            losses.append(task.ensemble_loss(output, labels))
        return inverse_loss_weights(losses)
    whole = ensemble_task([""] * len(tasks), tasks)

    def loss(weights: np.ndarray) -> float:
        # SLSQP may step a little below 0.
        positive = np.maximum(weights, SMALLEST)
        combined = combine(tasks, outputs, "weighted", positive)
        return whole.ensemble_loss(combined, labels)

    weights = minimise_on_simplex(loss, len(tasks))
    return as_shares(np.maximum(weights, 0))


def minimise_on_simplex(loss: Callable[[np.ndarray], float], size: int) -> np.ndarray:
    """Return the weights between 0 and 1, with sum 1, of the smallest loss."""
    from scipy.optimize import minimize  # predictions do without SciPy

    def beyond_one(weights: np.ndarray) -> float:
        return float(weights.sum()) - 1

    found = minimize(
        loss,
        np.full(size, 1 / size),
        bounds=[(0, 1)] * size,
        constraints={"type": "eq", "fun": beyond_one},
        method="SLSQP",
    )
    weights: np.ndarray = found.x
    return weights


def as_shares(weights: np.ndarray) -> list[float]:
    """Scale weights to the sum 1."""
    shares = weights / weights.sum()
    return list(map(float, shares))
