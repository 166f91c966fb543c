"""The objective that the flags describe."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainer_ext.arguments.groups import ObjectiveArguments
from trainer_ext.errors import UserError
from trainer_ext.objectives.base import Objective, Term
from trainer_ext.objectives.bce import BCETerm
from trainer_ext.objectives.class_weights import class_weights, count_classes, positive_weights
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.focal import FocalTerm
from trainer_ext.objectives.joint import SlotTerm
from trainer_ext.objectives.mse import MSETerm
from trainer_ext.objectives.rdrop import BernoulliRDropTerm, RDropTerm, SquaredRDropTerm
from trainer_ext.objectives.rmse import RmseTerm
from trainer_ext.objectives.sigmoid_focal import SigmoidFocalTerm
from trainer_ext.objectives.smooth_l1 import SmoothL1Term
from trainer_ext.tasks import Task

REGRESSION = {"rmse": RmseTerm, "mse": MSETerm, "smooth_l1": SmoothL1Term}
RDROP = {"multi_label": BernoulliRDropTerm, "regression": SquaredRDropTerm}


def build_objective(
    args: ObjectiveArguments, task: Task, labels: Sequence, label_smoothing: float = 0.0
) -> Objective:
    """The task's term, and R-Drop with `rdrop_alpha`.

    Args:
        labels: the encoded labels of the training part, for weights that depend on how often a class occurs.
        label_smoothing: `--label_smoothing_factor`, part of cross entropy.

    For intents and slots the same terms on both heads, those on the slots times `slot_loss_weight`.

    Raises:
        UserError: when `focal_alpha` or `class_weights` has not one value for each class.
    """
    terms = [(1.0, main_term(args, task, np.asarray(labels), label_smoothing))]
    if args.rdrop_alpha:
        terms.append((args.rdrop_alpha, RDROP.get(task.name, RDropTerm)()))
    if task.token_classes and args.slot_loss_weight:
        terms += [(args.slot_loss_weight * weight, SlotTerm(term)) for weight, term in terms]
    return Objective(tuple(terms))


def main_term(
    args: ObjectiveArguments, task: Task, labels: np.ndarray, label_smoothing: float
) -> Term:
    """RMSE or another distance; BCE or cross entropy; Focal Loss with `focal_gamma`."""
    if task.name == "regression":
        return REGRESSION[args.regression_loss]()
    weights = weights_of("class_weights", args.class_weights, task, labels)
    alpha = weights_of("focal_alpha", args.focal_alpha, task, labels)
    if task.name == "multi_label":
        if isinstance(args.focal_alpha, str):
            alpha = alpha / (
                1 + alpha
            )  # alpha / (1 - alpha) is then the weight of positives over negatives
        return SigmoidFocalTerm(args.focal_gamma, alpha) if args.focal_gamma else BCETerm(weights)
    return (
        FocalTerm(args.focal_gamma, alpha)
        if args.focal_gamma
        else CrossEntropyTerm(weights, label_smoothing)
    )


def weights_of(
    flag: str, value: str | list[float] | None, task: Task, labels: np.ndarray
) -> Tensor | None:
    """Weights of the classes (C,), (A, C) for aspects, or of positives (C,) for multi-label; None: not asked for."""
    classes = len(task.label_space.classes)
    if value is None:
        return None
    if not isinstance(value, str):
        if len(value) != classes and (len(value) != 1 or flag == "class_weights"):
            raise UserError(f"{flag} has {len(value)} values, but there are {classes} classes")
        return torch.tensor(value)
    if task.name == "multi_label":
        return torch.tensor(positive_weights(labels, value), dtype=torch.float32)
    return torch.tensor(class_weights(count_classes(labels, classes), value), dtype=torch.float32)
