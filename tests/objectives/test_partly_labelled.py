"""Rows without labels in a step: each row counts alike, whatever it is batched with, and only by the teacher's term."""

import pytest
import torch

from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.objectives.build import build_objective
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace

SPACE = LabelSpace(("label",), ("a", "b", "c"), ("a", "b", "c"))
ASPECTS = LabelSpace(("food", "staff"), ("a", "b", "c"), ("a", "b", "c"))
JOINT = Joint(JointLabelSpace(("intent",), ("a", "b", "c"), ("a", "b", "c"), ("O", "B-x")))
IS_LABELLED = torch.tensor([True, False, True, False, False, True])

# By task: the encoded labels, of which those of rows 1, 3 and 4 must not be read.
LABELS = {
    "single_label": torch.tensor([0, -100, 1, -100, -100, 2]),
    "multi_aspect": torch.tensor([[0, 1], [-100] * 2, [1, 1], [-100] * 2, [-100] * 2, [2, 0]]),
    "multi_label": torch.tensor(
        [[1, 0, 1], [-100] * 3, [0, 0, 0], [-100] * 3, [-100] * 3, [1, 1, 0]]
    ),
    "regression": torch.tensor(
        [[0.5], [float("nan")], [1.0], [float("nan")], [float("nan")], [-2.0]]
    ),
}


def task_of(name: str):
    space = ASPECTS if name == "multi_aspect" else SPACE
    if name == "regression":
        space = LabelSpace(("score",), (), ())
    return TASKS[name](space)


def objective_of(task, has_unlabelled: bool = True, **flags):
    args = ObjectiveArguments(distill="soft", distill_alpha=0.25, teacher=["t"], **flags)
    return build_objective(args, task, [0, 1, 2], has_unlabelled=has_unlabelled)


@pytest.mark.parametrize("name", LABELS)
def test_the_loss_is_the_mean_of_the_rows_losses(name):
    task, labels = task_of(name), LABELS[name]
    torch.manual_seed(0)
    logits = torch.randn(1, 6, *task.head_shape, requires_grad=True)
    teacher = torch.randn(6, *task.head_shape)
    batch = {"labels": labels, "teacher_labels": teacher, "is_labelled": IS_LABELLED}
    loss, values = objective_of(task)({"labels": logits}, batch)
    plain = objective_of(task, has_unlabelled=False)
    main, distillation = (term for _, term in plain.terms)
    own = IS_LABELLED
    # n_l / n (3/4 of the task's loss, 1/4 of the teacher's) + n_u / n of the teacher's
    expected = 0.5 * (
        0.75 * main(logits[:, own], labels[own]) + 0.25 * distillation(logits[:, own], teacher[own])
    ) + 0.5 * distillation(logits[:, ~own], teacher[~own])
    torch.testing.assert_close(loss, expected)
    # The log has the mean of the teacher's term over all rows.
    total, weight = values["distill_soft"]
    of_parts = [distillation(logits[:, rows], teacher[rows]) for rows in (own, ~own)]
    torch.testing.assert_close(total / weight, sum(of_parts).detach() / 2)
    loss.backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("split", [(3, 3), (2, 2, 2), (1, 1, 1, 1, 1, 1), (4, 2)])
def test_micro_batches_add_up_to_the_step(name, split):
    task, labels = task_of(name), LABELS[name]
    torch.manual_seed(1)
    logits = torch.randn(2, 6, *task.head_shape)
    teacher = torch.randn(6, *task.head_shape)
    objective = objective_of(task, rdrop_alpha=0.5)
    batch = {"labels": labels, "teacher_labels": teacher, "is_labelled": IS_LABELLED}
    parts, first = [], 0
    for size in split:
        rows = slice(first, first + size)
        parts.append(
            ({"labels": logits[:, rows]}, {key: value[rows] for key, value in batch.items()})
        )
        first += size
    step: dict[str, torch.Tensor] = {}
    for own_logits, own_labels in parts:
        more = objective.total_weights(own_labels) | objective.statistics(own_logits, own_labels)
        for key, value in more.items():
            step[key] = step.get(key, torch.zeros(())) + value
    whole, _ = objective({"labels": logits}, batch)
    losses = [objective(*part, step)[0] for part in parts]
    torch.testing.assert_close(sum(losses), whole)


def test_words_without_labels_count_by_the_teachers_term():
    labels = {
        "labels": torch.tensor([0, -100]),
        "token_labels": torch.tensor([[-100, 1, 0], [-100, -100, -100]]),
        "teacher_labels": torch.randn(2, 3),
        "teacher_token_labels": torch.randn(2, 3, 2),
        "is_labelled": torch.tensor([True, False]),
    }
    labels["teacher_token_labels"][:, 0] = float("nan")
    logits = {"labels": torch.randn(1, 2, 3), "token_labels": torch.randn(1, 2, 3, 2)}
    objective = objective_of(JOINT, slot_loss_weight=0.5)
    _, values = objective(logits, labels)
    weights = {name: float(weight) for name, (_, weight) in values.items()}
    assert weights == {
        "cross_entropy": 1,
        "distill_soft": 2,
        "slot_cross_entropy": 2,
        "slot_distill_soft": 4,
    }


def test_a_step_without_labels_is_the_teachers_term_alone():
    task = task_of("regression")
    teacher = torch.randn(2, 1)
    logits = {"labels": torch.randn(1, 2, 1)}
    labels = {
        "labels": torch.full((2, 1), float("nan")),
        "teacher_labels": teacher,
        "is_labelled": torch.tensor([False, False]),
    }
    loss, values = objective_of(task)(logits, labels)
    expected = ((logits["labels"][0] - teacher) ** 2).mean().sqrt()
    torch.testing.assert_close(loss, expected)
    assert set(values) == {"distill_soft"}
