"""BCE, sigmoid Focal Loss and the Bernoulli KL of R-Drop: against torch, closed forms and each other."""

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence
from torch.nn import functional as F

from trainer_ext.objectives.bce import BCETerm, binary_cross_entropy
from trainer_ext.objectives.rdrop import BernoulliRDropTerm, bernoulli_kl
from trainer_ext.objectives.sigmoid_focal import SigmoidFocalTerm, sigmoid_focal_loss

LN_3 = 1.0986122886681098  # sigmoid(ln 3) = 3/4


def test_bce_equals_torch():
    logits, labels, weight = 5 * torch.randn(6, 4), torch.randint(2, (6, 4)), torch.rand(4) + 0.1
    for pos_weight in (None, weight):
        expected = F.binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=pos_weight)
        torch.testing.assert_close(BCETerm(pos_weight)(logits.unsqueeze(0), labels), expected)


def test_bce_literal_value():
    value = binary_cross_entropy(
        torch.tensor([LN_3, LN_3]), torch.tensor([1, 0]), torch.tensor([2.0, 2.0])
    )
    torch.testing.assert_close(value, torch.tensor([0.5753641449, 1.3862943611]))  # 2 ln(4/3), ln 4


def test_bce_is_the_mean_over_passes_and_leaves_out_ignored_entries():
    logits, labels = torch.randn(2, 5, 3), torch.randint(2, (5, 3))
    labels[1, 2] = labels[4, 0] = -100
    valid = labels >= 0
    expected = (
        sum(F.binary_cross_entropy_with_logits(one[valid], labels[valid].float()) for one in logits)
        / 2
    )
    torch.testing.assert_close(BCETerm()(logits, labels), expected)


def test_focal_gamma_0_is_bce():
    logits, labels = torch.randn(6, 4), torch.randint(2, (6, 4)).float()
    torch.testing.assert_close(
        sigmoid_focal_loss(logits, labels, 0.0), binary_cross_entropy(logits, labels)
    )
    half = sigmoid_focal_loss(logits, labels, 0.0, torch.tensor(0.5))
    torch.testing.assert_close(2 * half, binary_cross_entropy(logits, labels))


def test_focal_closed_form():
    # p = 3/4. Positive: -0.25 (1/4)^2 ln(3/4); negative: p_t = 1/4, -0.75 (3/4)^2 ln(1/4)
    value = sigmoid_focal_loss(
        torch.tensor([LN_3, LN_3]), torch.tensor([1.0, 0.0]), 2.0, torch.tensor(0.25)
    )
    torch.testing.assert_close(value, torch.tensor([0.0044950322, 0.5848429336]))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_gradient_is_right_and_finite_where_it_is_sure(gamma):
    logits, labels = (
        torch.randn(5, 3, dtype=torch.float64, requires_grad=True),
        torch.randint(2, (5, 3)).double(),
    )
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, labels, gamma), logits)
    sure = torch.tensor([[100.0, -100.0, 100.0]], requires_grad=True)
    loss = SigmoidFocalTerm(gamma, [0.25])(sure.unsqueeze(0), torch.tensor([[1, 0, 0]]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(sure.grad).all()


def test_bernoulli_kl_equals_torch():
    p, q = torch.randn(8, 5), torch.randn(8, 5)
    one, other = Bernoulli(logits=p), Bernoulli(logits=q)
    expected = (kl_divergence(one, other) + kl_divergence(other, one)) / 2
    torch.testing.assert_close(bernoulli_kl(p, q), expected, rtol=1e-4, atol=1e-6)
    assert bernoulli_kl(p, p).abs().max() == 0


def test_bernoulli_kl_closed_form():
    # p = 1/2, q = 3/4: (1/2 - 3/4) (0 - ln 3) / 2
    torch.testing.assert_close(
        bernoulli_kl(torch.zeros(1), torch.tensor([LN_3])), torch.tensor([LN_3 / 8])
    )


def test_rdrop_is_the_mean_over_entries_whatever_the_batch_size():
    logits, labels = torch.randn(2, 6, 4), torch.randint(2, (6, 4))
    torch.testing.assert_close(
        BernoulliRDropTerm()(logits, labels), bernoulli_kl(logits[0], logits[1]).mean()
    )
    twice = BernoulliRDropTerm()(logits.repeat(1, 2, 1), labels.repeat(2, 1))
    torch.testing.assert_close(BernoulliRDropTerm()(logits, labels), twice)
