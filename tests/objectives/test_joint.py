"""Terms on two heads: what is counted, what divides it, and what the flags build."""

import pytest
import torch
from torch.nn import functional as F

from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.objectives.base import Objective
from trainer_ext.objectives.build import build_objective
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.focal import FocalTerm
from trainer_ext.objectives.joint import SlotTerm
from trainer_ext.objectives.rdrop import RDropTerm, symmetric_kl
from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.tasks.single_label import SingleLabel

TASK = Joint(
    JointLabelSpace(("intent",), ("a", "b", "c"), ("a", "b", "c"), ("O", "B-x", "I-x", "B-y"))
)
JOINT_OBJECTIVES = {
    "joint": build_objective(ObjectiveArguments(), TASK, []),
    "joint_weight": build_objective(ObjectiveArguments(slot_loss_weight=3.0), TASK, []),
    "joint_rdrop": build_objective(ObjectiveArguments(rdrop_alpha=2.0), TASK, []),
    "joint_focal_rdrop": build_objective(
        ObjectiveArguments(
            focal_gamma=2.0, focal_alpha=[0.5], rdrop_alpha=1.0, slot_loss_weight=2.0
        ),
        TASK,
        [],
    ),
}


def batch(passes: int, rows: int = 6, length: int = 7) -> tuple[dict, dict]:
    """Logits (K, B, 3) and (K, B, L, 4); labels (B,) and (B, L) with -100 at most positions, differently many a row."""
    logits = {
        "labels": torch.randn(passes, rows, 3),
        "token_labels": torch.randn(passes, rows, length, 4),
    }
    tags = torch.randint(4, (rows, length))
    for row in range(rows):
        tags[row, 1 + row :] = -100
    tags[:, 0] = -100
    tags[0, 1] = 2
    return logits, {"labels": torch.randint(3, (rows,)), "token_labels": tags}


def test_cross_entropy_of_both_heads_against_torch():
    logits, labels = batch(1)
    loss, values = JOINT_OBJECTIVES["joint_weight"](logits, labels)
    intent = F.cross_entropy(logits["labels"][0], labels["labels"])
    slots = F.cross_entropy(
        logits["token_labels"][0].flatten(0, 1), labels["token_labels"].flatten()
    )
    torch.testing.assert_close(loss, intent + 3 * slots)
    assert set(values) == {"cross_entropy", "slot_cross_entropy"}
    total, weight = values["slot_cross_entropy"]
    torch.testing.assert_close(total / weight, slots)
    assert weight == (labels["token_labels"] != -100).sum()


def test_rdrop_of_slots_is_the_mean_over_words():
    logits, labels = batch(2)
    valid = labels["token_labels"] != -100
    expected = symmetric_kl(*logits["token_labels"])[valid].mean()
    torch.testing.assert_close(
        SlotTerm(RDropTerm())(logits["token_labels"], labels["token_labels"]), expected
    )
    loss, _ = JOINT_OBJECTIVES["joint_rdrop"](logits, labels)
    plain, _ = JOINT_OBJECTIVES["joint"](logits, labels)
    intents = symmetric_kl(*logits["labels"]).mean()
    torch.testing.assert_close(loss, plain + 2 * intents + 2 * expected)


def test_padding_changes_nothing():
    logits, labels = batch(2)
    longer = dict(logits, token_labels=F.pad(logits["token_labels"], (0, 0, 0, 5), value=9.0))
    padded = dict(labels, token_labels=F.pad(labels["token_labels"], (0, 5), value=-100))
    for objective in JOINT_OBJECTIVES.values():
        torch.testing.assert_close(objective(longer, padded)[0], objective(logits, labels)[0])


def test_labels_that_no_training_row_has_do_not_count():
    logits, labels = batch(1)
    unseen = {"labels": labels["labels"].clone(), "token_labels": labels["token_labels"].clone()}
    unseen["labels"][0], unseen["token_labels"][0, 1] = -1000, -1003
    rest = {name: value[1:] for name, value in labels.items()}
    loss, _ = JOINT_OBJECTIVES["joint"](logits, unseen)
    torch.testing.assert_close(
        loss, JOINT_OBJECTIVES["joint"]({n: v[:, 1:] for n, v in logits.items()}, rest)[0]
    )


@pytest.mark.parametrize("name", JOINT_OBJECTIVES)
def test_uneven_batches_add_up_to_the_joined_batch(name):
    objective = JOINT_OBJECTIVES[name]
    logits, labels = batch(objective.passes)
    whole, _ = objective(logits, labels)
    parts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    weights = [objective.total_weights({n: v[part] for n, v in labels.items()}) for part in parts]
    step = {key: sum(weight[key] for weight in weights) for key in weights[0]}
    split = [
        ({n: v[:, part] for n, v in logits.items()}, {n: v[part] for n, v in labels.items()})
        for part in parts
    ]
    torch.testing.assert_close(sum(objective(*pair, step)[0] for pair in split), whole)
    mean_of_means = sum(objective(*pair)[0] for pair in split) / 3
    assert abs(mean_of_means - whole) > 1e-4, "the test must be able to tell the two apart"


def test_what_the_flags_build():
    described = [
        (w, t.name, t.head, t.passes) for w, t in JOINT_OBJECTIVES["joint_focal_rdrop"].terms
    ]
    assert described == [
        (1.0, "focal", "labels", 1),
        (1.0, "rdrop", "labels", 2),
        (2.0, "slot_focal", "token_labels", 1),
        (2.0, "slot_rdrop", "token_labels", 2),
    ]
    assert (
        JOINT_OBJECTIVES["joint_focal_rdrop"].passes == 2 and JOINT_OBJECTIVES["joint"].passes == 1
    )


def test_weight_zero_switches_the_slots_off():
    objective = build_objective(ObjectiveArguments(slot_loss_weight=0.0), TASK, [])
    assert [term.name for _, term in objective.terms] == ["cross_entropy"]


def test_a_task_with_one_head_has_no_slot_terms():
    task = SingleLabel(LabelSpace(("l",), ("a", "b"), ("a", "b")))
    objective = build_objective(ObjectiveArguments(rdrop_alpha=1.0), task, [])
    assert all(term.head == "labels" for _, term in objective.terms)


def test_a_wrapped_term_keeps_its_own_settings():
    logits, labels = batch(1)
    term = FocalTerm(2.0, [0.1, 0.2, 0.3, 0.4])
    mine = Objective(((1.0, SlotTerm(term)),))(logits, labels)[0]
    torch.testing.assert_close(mine, term(logits["token_labels"], labels["token_labels"]))
    assert (
        SlotTerm(CrossEntropyTerm()).name == "slot_cross_entropy"
        and CrossEntropyTerm().name == "cross_entropy"
    )
