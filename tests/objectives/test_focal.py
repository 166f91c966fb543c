"""Focal Loss against its closed form, cross entropy and finite differences."""

import pytest
import torch

from trainer_ext.objectives.cross_entropy import CrossEntropyTerm, cross_entropy
from trainer_ext.objectives.focal import FocalTerm, focal_loss


def test_gamma_0_and_alpha_1_is_cross_entropy():
    logits, labels = torch.randn(9, 4), torch.randint(4, (9,))
    torch.testing.assert_close(focal_loss(logits, labels, 0.0), cross_entropy(logits, labels))
    torch.testing.assert_close(
        focal_loss(logits, labels, 0.0, torch.ones(4)), cross_entropy(logits, labels)
    )
    batch = logits.unsqueeze(0)
    torch.testing.assert_close(
        FocalTerm(0.0, [1.0])(batch, labels), CrossEntropyTerm()(batch, labels)
    )


def test_closed_form():
    # p = [1/4, 3/4]: label 0 gives -0.5 (3/4)^2 ln(1/4), label 1 gives -2 (1/4)^2 ln(3/4)
    logits = torch.tensor([[0.0, 1.0986122886681098]]).repeat(2, 1)
    value = focal_loss(logits, torch.tensor([0, 1]), 2.0, torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(value, torch.tensor([0.38989528, 0.03596026]), rtol=1e-5, atol=1e-6)


def test_mean_divides_by_items_not_by_alphas():
    logits, labels = torch.randn(1, 6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    alpha = [0.2, 1.0, 3.0]
    expected = focal_loss(logits[0], labels, 1.5, torch.tensor(alpha)).mean()
    torch.testing.assert_close(FocalTerm(1.5, alpha)(logits, labels), expected)


def test_one_alpha_scales():
    logits, labels = torch.randn(1, 6, 3), torch.randint(3, (6,))
    torch.testing.assert_close(
        FocalTerm(2.0, [0.25])(logits, labels), 0.25 * FocalTerm(2.0)(logits, labels)
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradient_is_right_and_finite_when_p_is_1(gamma):
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: focal_loss(x, torch.tensor([0, 1, 2, 0, 1]), gamma), logits
    )
    sure = torch.tensor([[100.0, 0.0, 0.0]], requires_grad=True)
    focal_loss(sure, torch.tensor([0]), gamma).sum().backward()
    assert torch.isfinite(sure.grad).all()


def test_wrong_number_of_alphas():
    with pytest.raises(ValueError, match="2 values for 3 classes"):
        FocalTerm(2.0, [1.0, 2.0])(torch.randn(1, 2, 3), torch.tensor([0, 1]))


def test_alphas_by_aspect():
    alpha = torch.rand(2, 3)
    logits, labels = torch.randn(1, 5, 2, 3), torch.randint(3, (5, 2))
    expected = (focal_loss(logits[0, :, a], labels[:, a], 2.0, alpha[a]).sum() for a in range(2))
    torch.testing.assert_close(FocalTerm(2.0, alpha)(logits, labels), sum(expected) / 10)
