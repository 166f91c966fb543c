"""Focal Loss for softmax classes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import Term, flatten
from trainer_ext.objectives.cross_entropy import item_weights


def focal_loss(logits: Tensor, labels: Tensor, gamma: float, alpha: Tensor | None = None) -> Tensor:
    """Return -alpha_y (1 - p_y)^gamma log p_y for each item.

    Source: Lin et al., Focal Loss for Dense Object Detection (arXiv:1708.02002), eq. 5, with softmax for p. It is
    cross entropy at gamma 0 and alpha 1. As in the paper the mean divides by the number of items, not by the alphas.

    Args:
        logits: (..., C).
        labels: (...), class indices in 0..C-1.
        gamma: focusing parameter, at least 0.
        alpha: (C,) weights of the classes, or one set an item (..., C); None: 1 for each.

    Returns:
        (...), in nats.
    """
    index = labels.unsqueeze(-1)
    # Of the log: p itself may be rounded to 0.
    log_p = F.log_softmax(logits, dim=-1).gather(-1, index).squeeze(-1)
    loss = -log_p
    if gamma:
        # log1p(-p) keeps the gradient of (1 - p)^gamma finite for gamma < 1 as p goes to 1; the clamp bounds it there.
        p = log_p.exp().clamp(max=1 - 1e-6)
        loss = torch.exp(gamma * torch.log1p(-p)) * loss
    if alpha is None:
        return loss
    alpha_y = alpha.to(loss).expand_as(logits).gather(-1, index).squeeze(-1)
    return alpha_y * loss


class FocalTerm(Term):
    """Mean Focal Loss over items and passes.

    Args:
        gamma: focusing parameter.
        alpha: one number, (C,), or (A, C) with a set for each aspect.

    Raises:
        ValueError: at the first batch, if there is neither one alpha nor one for each class.
    """

    name = "focal"

    def __init__(self, gamma: float, alpha: Sequence[float] | Tensor | None = None):
        self.gamma = gamma
        self.alpha = None if alpha is None else torch.as_tensor(alpha)

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over items, averaged over passes."""
        alpha = item_weights(self.alpha, logits, labels)
        logits, labels = flatten(logits, labels)
        labels = labels.expand(logits.shape[:-1])
        losses = focal_loss(logits, labels, self.gamma, alpha)
        return losses.sum() / logits.shape[0]
