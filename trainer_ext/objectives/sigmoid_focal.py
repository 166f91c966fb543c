"""Focal Loss for multi-label."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import ElementTerm


def sigmoid_focal_loss(
    logits: Tensor,
    labels: Tensor,
    gamma: float,
    alpha: Tensor | None = None,
) -> Tensor:
    """Return -alpha_t (1 - p_t)^gamma log p_t for each entry.

    p_t is p = sigmoid(logits) for positives, 1 - p for negatives.

    Source: Lin et al., Focal Loss for Dense Object Detection (arXiv:1708.02002), eq. 5; alpha_t is alpha for positives
    and 1 - alpha for negatives. It is binary cross entropy at gamma 0 without alpha.

    Args:
        logits: (..., C).
        labels: (..., C), 0 or 1, broadcast over passes.
        gamma: focusing parameter, at least 0.
        alpha: (C,) or one number, in 0..1; None: 1 for positives and negatives.

    Returns:
        (..., C), in nats.
    """
    sign = 2 * labels - 1
    log_p_t = F.logsigmoid(sign * logits)
    # 1 - p_t = sigmoid(-sign x), so (1 - p_t)^gamma has a finite gradient for any gamma and x.
    loss = -torch.exp(gamma * F.logsigmoid(-sign * logits)) * log_p_t
    if alpha is None:
        return loss
    alpha = alpha.to(logits)
    alpha_t = labels * alpha + (1 - labels) * (1 - alpha)
    return alpha_t * loss


class SigmoidFocalTerm(ElementTerm):
    """Mean Focal Loss over rows, classes and passes."""

    name = "focal"

    def __init__(self, gamma: float, alpha: Sequence[float] | Tensor | None = None):
        self.gamma = gamma
        self.alpha = None if alpha is None else torch.as_tensor(alpha)

    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (K, B, C)."""
        return sigmoid_focal_loss(logits, labels, self.gamma, self.alpha)
