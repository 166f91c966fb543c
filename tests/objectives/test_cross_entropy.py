"""Cross entropy against torch's."""

import torch
from torch.nn import functional as F

from trainer_ext.objectives.cross_entropy import CrossEntropyTerm, cross_entropy


def test_equals_torch():
    logits, labels = torch.randn(7, 5), torch.randint(5, (7,))
    torch.testing.assert_close(cross_entropy(logits, labels), F.cross_entropy(logits, labels, reduction="none"))


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
    torch.testing.assert_close(CrossEntropyTerm()(logits, labels), F.cross_entropy(logits[0], labels))
