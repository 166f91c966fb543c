"""R-Drop: two passes with different dropout should agree."""

from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import ElementTerm, Term, flatten


def symmetric_kl(logits_1: Tensor, logits_2: Tensor) -> Tensor:
    """Return (KL(p1 || p2) + KL(p2 || p1)) / 2 for each item.

    Source: Liang et al., R-Drop (arXiv:2106.14448), eq. 2. Summed over classes, not averaged.

    Args:
        logits_1, logits_2: (..., C), of two passes with different dropout.

    Returns:
        (...), in nats; 0 if both are equal.
    """
    log_p = F.log_softmax(logits_1, dim=-1)
    log_q = F.log_softmax(logits_2, dim=-1)
    # Eq. 2: sum p (log p - log q) + sum q (log q - log p) = sum (p - q) (log p - log q)
    by_class = (log_p.exp() - log_q.exp()) * (log_p - log_q)
    return 0.5 * by_class.sum(dim=-1)


class RDropTerm(Term):
    """Mean symmetric KL over items, between the two passes.

    The task's term is averaged over the two passes. The paper's eq. 3, and the code of the authors' experiments, add
    the two, so that the KL term weighs half as much there: their alpha 5 is `--rdrop_alpha 2.5` here. The short example
    in their README averages as we do; its alpha is ours.
    """

    name = "rdrop"
    passes = 2

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over items."""
        logits, _ = flatten(logits, labels)
        return symmetric_kl(logits[0], logits[1]).sum()


def bernoulli_kl(logits_1: Tensor, logits_2: Tensor) -> Tensor:
    """Return (KL(p1 || p2) + KL(p2 || p1)) / 2 for each entry, between Bernoulli distributions.

    p = sigmoid(logits).

    Args:
        logits_1, logits_2: (..., C), of two passes with different dropout.

    Returns:
        (..., C), in nats; 0 if both are equal.
    """
    # The logs of p / (1 - p) are the logits: (p - q) (log p - log q) + (q - p) (log(1 - p) - log(1 - q)).
    return 0.5 * (logits_1.sigmoid() - logits_2.sigmoid()) * (logits_1 - logits_2)


class BernoulliRDropTerm(ElementTerm):
    """Multi-label: mean Bernoulli KL over rows and classes (as BCE takes its mean), between the two passes."""

    name = "rdrop"
    passes = 2

    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (K, B, C): the same for both passes, over which the sum takes its mean."""
        return bernoulli_kl(logits[0], logits[1]).expand_as(logits)


class SquaredRDropTerm(ElementTerm):
    """Regression: mean squared distance over rows and targets, between the two passes; in the label's unit squared."""

    name = "rdrop"
    passes = 2

    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (K, B, T): the same for both passes, over which the sum takes its mean."""
        return ((logits[0] - logits[1]) ** 2).expand_as(logits)
