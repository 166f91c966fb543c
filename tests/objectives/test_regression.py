"""RMSE, MSE, smooth L1 and R-Drop's squared distance: against torch, closed forms and autograd."""

import torch
from torch.nn import functional as F

from trainer_ext.objectives.mse import MSETerm
from trainer_ext.objectives.rdrop import SquaredRDropTerm
from trainer_ext.objectives.rmse import RmseTerm, mcrmse
from trainer_ext.objectives.smooth_l1 import SmoothL1Term


def test_mcrmse_literal_value():
    # errors 3, 4 (root of 12.5) and 1, 1 (1)
    value = mcrmse(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [4.0, 1.0]]))
    torch.testing.assert_close(value, torch.tensor((12.5**0.5 + 1) / 2))


def test_term_has_value_and_gradient_of_mcrmse():
    logits, labels = torch.randn(2, 7, 3, requires_grad=True), torch.randn(7, 3)
    loss = RmseTerm()(logits, labels)
    expected = (mcrmse(logits[0], labels) + mcrmse(logits[1], labels)) / 2
    torch.testing.assert_close(loss, expected)
    (ours,) = torch.autograd.grad(loss, logits)
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, theirs)


def test_shares_of_uneven_batches_have_the_gradient_of_the_joined_batch():
    term, labels = RmseTerm(), torch.randn(8, 3)
    logits = torch.randn(1, 8, 3, requires_grad=True)
    parts = [slice(0, 1), slice(1, 6), slice(6, 8)]
    statistics = sum(term.statistics(logits.detach()[:, part], labels[part]) for part in parts)
    split = sum(
        term.share(logits[:, part], labels[part], statistics, torch.tensor(8.0)) for part in parts
    )
    whole = mcrmse(logits[0], labels)
    torch.testing.assert_close(split, whole)
    torch.testing.assert_close(
        torch.autograd.grad(split, logits), torch.autograd.grad(whole, logits)
    )


def test_rmse_of_perfect_scores_has_a_finite_gradient():
    labels = torch.randn(4, 2)
    logits = labels.clone().unsqueeze(0).requires_grad_()
    loss = RmseTerm()(logits, labels)
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_mse_and_smooth_l1_equal_torch():
    logits, labels = 3 * torch.randn(1, 7, 3), torch.randn(7, 3)
    torch.testing.assert_close(MSETerm()(logits, labels), F.mse_loss(logits[0], labels))
    torch.testing.assert_close(SmoothL1Term()(logits, labels), F.smooth_l1_loss(logits[0], labels))


def test_smooth_l1_literal_value():
    # |d| = 1/2 gives 1/8, |d| = 3 gives 5/2
    value = SmoothL1Term()(torch.tensor([[[0.5], [3.0]]]), torch.zeros(2, 1))
    torch.testing.assert_close(value, torch.tensor((0.125 + 2.5) / 2))


def test_a_score_of_minus_100_counts():
    torch.testing.assert_close(
        MSETerm()(torch.zeros(1, 2, 1), torch.tensor([[-100.0], [0.0]])), torch.tensor(5000.0)
    )


def test_rdrop_is_the_mean_squared_distance():
    logits, labels = torch.randn(2, 6, 4), torch.randn(6, 4)
    torch.testing.assert_close(SquaredRDropTerm()(logits, labels), F.mse_loss(logits[0], logits[1]))
    assert SquaredRDropTerm()(logits[:1].repeat(2, 1, 1), labels) == 0
