"""R-Drop: two passes with different dropout should agree."""

from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import Term, flatten


def symmetric_kl(logits_1: Tensor, logits_2: Tensor) -> Tensor:
    """(KL(p1 || p2) + KL(p2 || p1)) / 2 for each item.

    Source: Liang et al., R-Drop (arXiv:2106.14448), eq. 2. Summed over classes, not averaged.

    Args:
        logits_1, logits_2: (..., C), of two passes with different dropout.

    Returns:
        (...), in nats; 0 where both are equal.
    """
    log_p, log_q = F.log_softmax(logits_1, dim=-1), F.log_softmax(logits_2, dim=-1)
    # sum p (log p - log q) + sum q (log q - log p) = sum (p - q) (log p - log q)
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1)


class RDropTerm(Term):
    """Mean symmetric KL over items, between the two passes.

    The task's term averages over the passes where the paper's eq. 3 adds them, as the authors' code does too:
    `--rdrop_alpha 5` here is their alpha 5.
    """

    name = "rdrop"
    passes = 2

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over items."""
        logits, _ = flatten(logits, labels)
        return symmetric_kl(logits[0], logits[1]).sum()
