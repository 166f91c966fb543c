"""Binary cross entropy for multi-label."""

from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import ElementTerm


def binary_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return -w y log p - (1 - y) log(1 - p) for each entry, with p = sigmoid(logits).

    Args:
        logits: (..., C).
        labels: (..., C), 0 or 1, broadcast over passes.
        pos_weight: (C,) weights w of the positives; None: 1 for each.

    Returns:
        (..., C), in nats.
    """
    # log(1 - p) = log sigmoid(-logits), which loses no digits as p goes to 1.
    positive = -F.logsigmoid(logits)
    negative = -F.logsigmoid(-logits)
    if pos_weight is not None:
        positive = pos_weight.to(logits) * positive
    return labels * positive + (1 - labels) * negative


class BCETerm(ElementTerm):
    """Mean binary cross entropy over rows, classes and passes.

    With positive weights the mean still divides by the number of entries, as torch's `pos_weight` does.
    """

    name = "bce"

    def __init__(self, pos_weight: Tensor | None = None):
        self.pos_weight = pos_weight

    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (K, B, C)."""
        return binary_cross_entropy(logits, labels, self.pos_weight)
