"""R-Drop's KL against torch's, and what it must not depend on."""

import torch
from torch.nn import functional as F

from trainer_ext.objectives.rdrop import RDropTerm, symmetric_kl


def test_equals_two_kl_divs_of_torch():
    p, q = torch.randn(8, 5), torch.randn(8, 5)
    log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
    # F.kl_div(input, target) is KL(target || input)
    expected = (
        F.kl_div(log_q, log_p, reduction="none", log_target=True)
        + F.kl_div(log_p, log_q, reduction="none", log_target=True)
    ).sum(-1) / 2
    torch.testing.assert_close(symmetric_kl(p, q), expected)


def test_closed_form():
    # p = [1/2, 1/2], q = [1/4, 3/4]: (p - q) . (ln p - ln q) / 2 = (ln 2 + ln 1.5) / 8
    value = symmetric_kl(torch.zeros(1, 2), torch.tensor([[0.0, 1.0986122886681098]]))
    torch.testing.assert_close(value, torch.tensor([0.13732653608]))


def test_equal_passes_give_zero_and_it_is_symmetric():
    p, q = torch.randn(8, 5), torch.randn(8, 5)
    assert symmetric_kl(p, p).abs().max() == 0
    torch.testing.assert_close(symmetric_kl(p, q), symmetric_kl(q, p))
    assert (symmetric_kl(p, q) > 0).all()


def test_mean_over_items_whatever_the_batch_size():
    logits, labels = torch.randn(2, 6, 3, 4), torch.zeros(6, 3, dtype=torch.long)
    once, twice = (
        RDropTerm()(logits, labels),
        RDropTerm()(logits.repeat(1, 2, 1, 1), labels.repeat(2, 1)),
    )
    torch.testing.assert_close(once, twice)
    torch.testing.assert_close(once, symmetric_kl(logits[0], logits[1]).mean())


def test_padded_items_do_not_count():
    logits, labels = torch.randn(2, 4, 3), torch.tensor([0, 1, -100, -100])
    torch.testing.assert_close(RDropTerm()(logits, labels), RDropTerm()(logits[:, :2], labels[:2]))
