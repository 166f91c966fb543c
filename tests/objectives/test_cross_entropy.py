"""Cross entropy against torch's."""

import pytest
import torch
from torch.nn import functional as F
from transformers.trainer_pt_utils import LabelSmoother

from trainer_ext.objectives.cross_entropy import CrossEntropyTerm, cross_entropy


def test_equals_torch():
    logits, labels = torch.randn(7, 5), torch.randint(5, (7,))
    torch.testing.assert_close(
        cross_entropy(logits, labels), F.cross_entropy(logits, labels, reduction="none")
    )


def test_literal_value():
    # softmax([0, ln 3]) = [1/4, 3/4]
    value = cross_entropy(torch.tensor([[0.0, 1.0986122886681098]]), torch.tensor([0]))
    torch.testing.assert_close(value, torch.tensor([1.3862943611198906]))


def test_term_is_the_mean_over_items_and_passes():
    logits, labels = torch.randn(2, 4, 3, 5), torch.randint(5, (4, 3))
    expected = (
        F.cross_entropy(logits[0].flatten(0, 1), labels.flatten())
        + F.cross_entropy(logits[1].flatten(0, 1), labels.flatten())
    ) / 2
    torch.testing.assert_close(CrossEntropyTerm()(logits, labels), expected)


def test_ignored_items_do_not_count():
    logits, labels = torch.randn(1, 4, 5), torch.tensor([1, -100, 2, -100])
    torch.testing.assert_close(
        CrossEntropyTerm()(logits, labels), F.cross_entropy(logits[0], labels)
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_and_smoothing_equal_torch(weighted, smoothing):
    weights = torch.tensor([0.2, 1.0, 3.0, 0.7]) if weighted else None
    logits, labels = torch.randn(9, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2, -100, 3])
    expected = F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
    torch.testing.assert_close(
        CrossEntropyTerm(weights, smoothing)(logits.unsqueeze(0), labels), expected
    )


def test_smoothing_is_transformers():
    logits, labels = torch.randn(6, 4), torch.randint(4, (6,))
    expected = LabelSmoother(epsilon=0.2)({"logits": logits}, labels.unsqueeze(-1).squeeze(-1))
    torch.testing.assert_close(
        CrossEntropyTerm(label_smoothing=0.2)(logits.unsqueeze(0), labels), expected
    )


def test_weights_by_aspect():
    weights = torch.rand(2, 3) + 0.1
    logits, labels = torch.randn(2, 5, 2, 3), torch.randint(3, (5, 2))
    labels[3, 1] = -100
    sums = sum(
        F.cross_entropy(logits[k, :, a], labels[:, a], weight=weights[a], reduction="sum")
        for k in range(2)
        for a in range(2)
    )
    total = sum(weights[a][labels[:, a][labels[:, a] >= 0]].sum() for a in range(2))
    torch.testing.assert_close(CrossEntropyTerm(weights)(logits, labels), sums / 2 / total)
