"""The objective that the flags describe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.errors import UserError
from trainer_ext.objectives.base import Objective, Term
from trainer_ext.objectives.bce import BCETerm
from trainer_ext.objectives.class_weights import class_weights, count_classes, positive_weights
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.distillation import (
    BernoulliDistillHardTerm,
    BernoulliDistillSoftTerm,
    DistillHardTerm,
    DistillSoftTerm,
    learned_from_teacher,
)
from trainer_ext.objectives.focal import FocalTerm
from trainer_ext.objectives.joint import SlotTerm
from trainer_ext.objectives.layer_distillation import ATTENTION, HIDDEN, TokenTerm
from trainer_ext.objectives.mse import MSETerm
from trainer_ext.objectives.partly_labelled import PartlyLabelledObjective
from trainer_ext.objectives.rdrop import BernoulliRDropTerm, RDropTerm, SquaredRDropTerm
from trainer_ext.objectives.rmse import RmseTerm
from trainer_ext.objectives.sigmoid_focal import SigmoidFocalTerm
from trainer_ext.objectives.smooth_l1 import SmoothL1Term
from trainer_ext.tasks import Task
from trainer_ext.tasks.activations import Array

DISTANCES: dict[str, type[Term]] = {"rmse": RmseTerm, "mse": MSETerm, "smooth_l1": SmoothL1Term}


def build_objective(
    args: ObjectiveArguments,
    task: Task,
    labels: Sequence[Any],
    label_smoothing: float = 0.0,
    has_unlabelled: bool = False,
) -> Objective:
    """Return the task's term, the teacher's with `distill`, and R-Drop with `rdrop_alpha`.

    Args:
        labels: the encoded labels of the training part, for weights that depend on how often a class occurs.
        label_smoothing: `--label_smoothing_factor`, part of cross entropy.
        has_unlabelled: whether some training rows have no labels; these have the teacher's term alone, at weight 1.

    For intents and slots the same terms on both heads, those on the slots times `slot_loss_weight`.

    Raises:
        UserError: if `focal_alpha` or `class_weights` has not one value for each class.
    """
    # By what the head predicts, not by the task: two tasks may share a row.
    family = FAMILIES[task.loss_family]
    main = family.main_term(args, task, np.asarray(labels), label_smoothing)
    plain = Objective(weighted_terms(args, task, main, teacher_weight=0.0))
    if not args.teacher_weight:
        return plain
    # Rows of an evaluation have no teacher.
    of_layers = layer_terms(args)
    terms = weighted_terms(args, task, main, args.teacher_weight) + of_layers
    if not has_unlabelled:
        return Objective(terms, evaluation=plain)
    taught = on_all_heads(args, task, [(1.0, teacher_term(args, task))]) + of_layers
    return PartlyLabelledObjective(terms=terms, evaluation=plain, unlabelled=Objective(taught))


def weighted_terms(
    args: ObjectiveArguments,
    task: Task,
    main: Term,
    teacher_weight: float,
) -> tuple[tuple[float, Term], ...]:
    """Return the terms of all heads, each after its weight.

    Args:
        main: the term of the true labels, which weighs 1 - `teacher_weight`.
        teacher_weight: of the teacher's term.
    """
    family = FAMILIES[task.loss_family]
    terms: list[tuple[float, Term]] = []
    # Not at weight 0, which would make NaN of an infinite loss.
    if teacher_weight < 1:
        terms.append((1 - teacher_weight, main))
    if teacher_weight:
        terms.append((teacher_weight, teacher_term(args, task)))
    if args.rdrop_alpha:
        terms.append((args.rdrop_alpha, family.rdrop_term()))
    return on_all_heads(args, task, terms)


def teacher_term(args: ObjectiveArguments, task: Task) -> Term:
    """Return the teacher's term on the first head."""
    return FAMILIES[task.loss_family].distillation_term(args)


def layer_terms(args: ObjectiveArguments) -> tuple[tuple[float, Term], ...]:
    """Return the terms between the layers of student and teacher, which know of no head."""
    weights = {HIDDEN: args.distill_hidden_weight, ATTENTION: args.distill_attention_weight}
    return tuple((weight, TokenTerm(name)) for name, weight in weights.items() if weight)


def on_all_heads(
    args: ObjectiveArguments,
    task: Task,
    terms: list[tuple[float, Term]],
) -> tuple[tuple[float, Term], ...]:
    """Return terms of the first head, and the same again, R-Drop included, on the tags of words if there are some."""
    if not task.has_token_head or not args.slot_loss_weight:
        return tuple(terms)
    of_slots = [(args.slot_loss_weight * weight, SlotTerm(term)) for weight, term in terms]
    return (*terms, *of_slots)


def categorical_term(
    args: ObjectiveArguments,
    task: Task,
    labels: Array,
    label_smoothing: float,
) -> Term:
    """Return cross entropy, or Focal Loss with `focal_gamma`."""

    def count_and_weigh(method: str) -> Array:
        counts = count_classes(labels, len(task.label_space.classes))
        return class_weights(counts, method)

    if args.focal_gamma:
        alpha = weights_of("focal_alpha", args.focal_alpha, task, count_and_weigh)
        return FocalTerm(args.focal_gamma, alpha)
    weights = weights_of("class_weights", args.class_weights, task, count_and_weigh)
    return CrossEntropyTerm(weights, label_smoothing)


def binary_term(
    args: ObjectiveArguments,
    task: Task,
    labels: Array,
    label_smoothing: float,
) -> Term:
    """Return binary cross entropy, or Focal Loss with `focal_gamma`."""

    def count_and_weigh(method: str) -> Array:
        return positive_weights(labels, method)

    if args.focal_gamma:
        alpha = weights_of("focal_alpha", args.focal_alpha, task, count_and_weigh)
        if isinstance(args.focal_alpha, str) and alpha is not None:
            # alpha / (1 - alpha) is then the weight of positives over negatives.
            alpha = alpha / (1 + alpha)
        return SigmoidFocalTerm(args.focal_gamma, alpha)
    return BCETerm(weights_of("class_weights", args.class_weights, task, count_and_weigh))


def distance_term(
    args: ObjectiveArguments,
    task: Task,
    labels: Array,
    label_smoothing: float,
) -> Term:
    """Return the distance that `regression_loss` names."""
    return DISTANCES[args.regression_loss]()


def categorical_distillation(args: ObjectiveArguments) -> Term:
    """Return the teacher's term of a softmax head."""
    if args.distill == "soft":
        return DistillSoftTerm(args.distill_temperature)
    return DistillHardTerm()


def binary_distillation(args: ObjectiveArguments) -> Term:
    """Return the teacher's term of a sigmoid head."""
    if args.distill == "soft":
        return BernoulliDistillSoftTerm(args.distill_temperature)
    return BernoulliDistillHardTerm()


def distance_distillation(args: ObjectiveArguments) -> Term:
    """Return the teacher's term of scores."""
    return learned_from_teacher(DISTANCES[args.regression_loss](), args.distill)


@dataclass(frozen=True)
class Family:
    """The terms of a kind of head, by `task.loss_family`."""

    main_term: Callable[[ObjectiveArguments, Task, Array, float], Term]
    rdrop_term: Callable[[], Term]
    distillation_term: Callable[[ObjectiveArguments], Term]


FAMILIES = {
    "cross_entropy": Family(categorical_term, RDropTerm, categorical_distillation),
    "binary_cross_entropy": Family(binary_term, BernoulliRDropTerm, binary_distillation),
    "distance": Family(distance_term, SquaredRDropTerm, distance_distillation),
}


def weights_of(
    flag: str,
    value: str | Sequence[float] | Sequence[str] | None,
    task: Task,
    count_and_weigh: Callable[[str], Array],
) -> Tensor | None:
    """Return the weights that a flag asks for; None if it does not.

    Args:
        flag: its name.
        value: a method of counting, or the weights themselves.
        task: has the classes.
        count_and_weigh: from the method, weights of the classes (C,), (A, C) for aspects, or of the positives of each
            class (C,).

    Raises:
        UserError: for another number of weights than classes; `focal_alpha` may be a single one.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return torch.tensor(count_and_weigh(value), dtype=torch.float32)
    classes = len(task.label_space.classes)
    # A single class weight would cancel out of the weighted mean.
    is_one_for_all = len(value) == 1 and flag == "focal_alpha"
    if len(value) != classes and not is_one_for_all:
        raise UserError(f"{flag} has {len(value)} values, but there are {classes} classes")
    return torch.tensor(value)
