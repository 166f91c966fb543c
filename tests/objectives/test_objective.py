"""Terms add up, also over uneven batches of one optimizer step."""

import pytest
import torch

from trainer_ext.objectives.base import Objective
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.focal import FocalTerm
from trainer_ext.objectives.rdrop import RDropTerm

OBJECTIVES = {
    "cross_entropy": Objective(((1.0, CrossEntropyTerm()),)),
    "focal": Objective(((1.0, FocalTerm(2.0, [0.3, 1.0, 2.0])),)),
    "rdrop": Objective(((1.0, CrossEntropyTerm()), (4.0, RDropTerm()))),
    "focal_rdrop": Objective(((1.0, FocalTerm(2.0)), (0.5, RDropTerm()))),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_uneven_batches_add_up_to_the_joined_batch(name):
    objective = OBJECTIVES[name]
    logits, labels = torch.randn(objective.passes, 8, 2, 3), torch.randint(3, (8, 2))
    labels[5, 1] = labels[0, 0] = labels[1, 1] = -100
    whole, _ = objective(logits, labels)
    parts = [slice(0, 1), slice(1, 6), slice(6, 8)]
    weights = [objective.total_weights(labels[part]) for part in parts]
    step = {key: sum(weight[key] for weight in weights) for key in weights[0]}
    split = sum(objective(logits[:, part], labels[part], step)[0] for part in parts)
    torch.testing.assert_close(split, whole)
    mean_of_means = sum(objective(logits[:, part], labels[part])[0] for part in parts) / 3
    assert abs(mean_of_means - whole) > 1e-4, "the test must be able to tell the two apart"


def test_weights_and_names():
    logits, labels = torch.randn(2, 4, 3), torch.randint(3, (4,))
    loss, values = OBJECTIVES["rdrop"](logits, labels)
    expected = CrossEntropyTerm()(logits, labels) + 4 * RDropTerm()(logits, labels)
    torch.testing.assert_close(loss, expected)
    assert set(values) == {"cross_entropy", "rdrop"}
    torch.testing.assert_close(values["rdrop"][0] / values["rdrop"][1], RDropTerm()(logits, labels))


def test_evaluation_with_one_pass_leaves_pair_terms_out():
    logits, labels = torch.randn(1, 4, 3), torch.randint(3, (4,))
    loss, values = OBJECTIVES["rdrop"](logits, labels)
    torch.testing.assert_close(loss, CrossEntropyTerm()(logits, labels))
    assert set(values) == {"cross_entropy"}


def test_a_batch_without_valid_items_is_zero_not_nan():
    labels = torch.full((4,), -100)
    for objective in OBJECTIVES.values():
        loss, _ = objective(torch.randn(objective.passes, 4, 3), labels)
        assert loss == 0
