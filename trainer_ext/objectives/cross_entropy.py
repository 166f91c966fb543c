"""Cross entropy."""

from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import Term, flatten


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y for each item.

    Args:
        logits: (..., C).
        labels: (...), class indices in 0..C-1.

    Returns:
        (...), in nats.
    """
    return -F.log_softmax(logits, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


class CrossEntropyTerm(Term):
    """Mean cross entropy over items and passes."""

    name = "cross_entropy"

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over items, mean over passes."""
        logits, labels = flatten(logits, labels)
        return cross_entropy(logits, labels.expand(logits.shape[:-1])).sum() / logits.shape[0]
