"""Terms add up, also over uneven batches of one optimizer step."""

import pytest
import torch

from trainer_ext.objectives.base import Objective
from trainer_ext.objectives.bce import BCETerm
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.focal import FocalTerm
from trainer_ext.objectives.mse import MSETerm
from trainer_ext.objectives.rdrop import BernoulliRDropTerm, RDropTerm, SquaredRDropTerm
from trainer_ext.objectives.rmse import RmseTerm
from trainer_ext.objectives.sigmoid_focal import SigmoidFocalTerm
from trainer_ext.objectives.smooth_l1 import SmoothL1Term

OBJECTIVES = {
    "cross_entropy": Objective(((1.0, CrossEntropyTerm()),)),
    "focal": Objective(((1.0, FocalTerm(2.0, [0.3, 1.0, 2.0])),)),
    "rdrop": Objective(((1.0, CrossEntropyTerm()), (4.0, RDropTerm()))),
    "focal_rdrop": Objective(((1.0, FocalTerm(2.0)), (0.5, RDropTerm()))),
    "class_weights": Objective(((1.0, CrossEntropyTerm(torch.tensor([0.3, 1.0, 2.0]))),)),
    "weights_smoothing_rdrop": Objective(
        ((1.0, CrossEntropyTerm(torch.tensor([0.3, 1.0, 2.0]), 0.1)), (0.5, RDropTerm()))
    ),
}
# Objectives whose labels are flags (B, C), or scores (B, T).
MULTI_LABEL = {
    "bce": Objective(((1.0, BCETerm(torch.tensor([0.3, 1.0, 2.0]))),)),
    "bce_rdrop": Objective(((1.0, BCETerm()), (0.5, BernoulliRDropTerm()))),
    "sigmoid_focal": Objective(((1.0, SigmoidFocalTerm(2.0, [0.25])),)),
}
REGRESSION = {
    "rmse": Objective(((1.0, RmseTerm()),)),
    "rmse_rdrop": Objective(((1.0, RmseTerm()), (0.5, SquaredRDropTerm()))),
    "mse": Objective(((1.0, MSETerm()),)),
    "smooth_l1": Objective(((1.0, SmoothL1Term()),)),
}


def labels_for(name: str, rows: int) -> torch.Tensor:
    """Random labels for the objective: two aspects of three classes, three flags or three scores a row."""
    if name in REGRESSION:
        return 2 * torch.randn(rows, 3)
    return torch.randint(2, (rows, 3)) if name in MULTI_LABEL else torch.randint(3, (rows, 2))


@pytest.mark.parametrize("name", [*OBJECTIVES, *MULTI_LABEL, *REGRESSION])
def test_uneven_batches_add_up_to_the_joined_batch(name):
    objective = (OBJECTIVES | MULTI_LABEL | REGRESSION)[name]
    labels = labels_for(name, 8)
    logits = torch.randn(objective.passes, *labels.shape, *([3] if name in OBJECTIVES else []))
    if name not in REGRESSION:
        labels[5, 1] = labels[0, 0] = labels[1, 1] = -100
    whole, _ = objective(logits, labels)
    parts = [slice(0, 1), slice(1, 6), slice(6, 8)]
    weights = [
        objective.total_weights(labels[part]) | objective.statistics(logits[:, part], labels[part])
        for part in parts
    ]
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
    for objective in MULTI_LABEL.values():
        loss, _ = objective(torch.randn(objective.passes, 4, 3), torch.full((4, 3), -100))
        assert loss == 0
