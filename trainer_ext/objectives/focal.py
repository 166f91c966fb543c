"""Focal Loss for softmax classes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import Term, flatten


def focal_loss(logits: Tensor, labels: Tensor, gamma: float, alpha: Tensor | None = None) -> Tensor:
    """-alpha_y (1 - p_y)^gamma log p_y for each item.

    Source: Lin et al., Focal Loss for Dense Object Detection (arXiv:1708.02002), eq. 5, with softmax for p. It is
    cross entropy at gamma 0 and alpha 1. As in the paper the mean divides by the number of items, not by the alphas.

    Args:
        logits: (..., C).
        labels: (...), class indices in 0..C-1.
        gamma: focusing parameter, at least 0.
        alpha: (C,) weights of the classes; None: 1 for each.

    Returns:
        (...), in nats.
    """
    log_p = F.log_softmax(logits, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    # log1p(-p) keeps the gradient of (1 - p)^gamma finite for gamma < 1 as p goes to 1; the clamp bounds it there.
    focus = torch.exp(gamma * torch.log1p(-log_p.exp().clamp(max=1 - 1e-6))) if gamma else 1.0
    loss = -focus * log_p
    return loss if alpha is None else alpha.to(loss)[labels] * loss


class FocalTerm(Term):
    """Mean Focal Loss over items and passes.

    Raises:
        ValueError: at the first batch, when there is neither one alpha nor one for each class.
    """

    name = "focal"

    def __init__(self, gamma: float, alpha: Sequence[float] | None = None):
        self.gamma = gamma
        self.alpha = torch.tensor(alpha) if alpha else None

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over items, mean over passes."""
        logits, labels = flatten(logits, labels)
        alpha = self.alpha
        if alpha is not None:
            if alpha.numel() not in (1, logits.shape[-1]):
                raise ValueError(f"focal_alpha has {alpha.numel()} values for {logits.shape[-1]} classes")
            alpha = alpha.to(logits).expand(logits.shape[-1])
        return focal_loss(logits, labels.expand(logits.shape[:-1]), self.gamma, alpha).sum() / logits.shape[0]
