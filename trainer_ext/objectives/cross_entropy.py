"""Cross entropy, with class weights and label smoothing."""

from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import Term, counted, flatten


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return (1 - s) w_y (-log p_y) + s / C sum_c w_c (-log p_c) for each item, with smoothing s and class weights w.

    Source: Szegedy et al., Rethinking the Inception Architecture (arXiv:1512.00567), section 7, for the smoothing; with
    weights as `torch.nn.functional.cross_entropy` combines them.

    Args:
        logits: (..., C).
        labels: (...), class indices in 0..C-1.
        class_weights: (C,), or one set an item (..., C); None: 1 for each.
        label_smoothing: share of the target that is spread over all classes, as transformers'
            `label_smoothing_factor`.

    Returns:
        (...), in nats.
    """
    losses = -F.log_softmax(logits, dim=-1)
    if class_weights is not None:
        losses = class_weights.to(losses) * losses
    own = losses.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    # Without smoothing the mean over classes, which may be infinite, must not be multiplied by 0.
    if not label_smoothing:
        return own
    return (1 - label_smoothing) * own + label_smoothing * losses.mean(dim=-1)


class CrossEntropyTerm(Term):
    """Mean cross entropy over items and passes; with class weights the weighted mean, as torch's.

    Args:
        class_weights: (C,), or (A, C) with a set for each aspect.
        label_smoothing: in 0..1.
    """

    name = "cross_entropy"

    def __init__(self, class_weights: Tensor | None = None, label_smoothing: float = 0.0):
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over items, averaged over passes."""
        weights = item_weights(self.class_weights, logits, labels)
        logits, labels = flatten(logits, labels)
        labels = labels.expand(logits.shape[:-1])
        losses = cross_entropy(logits, labels, weights, self.label_smoothing)
        return losses.sum() / logits.shape[0]

    def total_weight(self, labels: Tensor) -> Tensor:
        """Return the number of items, or the sum of the weights of their classes."""
        if self.class_weights is None:
            return super().total_weight(labels)
        weights = self.class_weights.to(labels.device)
        weights = weights.expand(*labels.shape, weights.shape[-1])
        # Labels below zero do not count; the clamp only makes them an index.
        index = labels.clamp(min=0).unsqueeze(-1)
        own = weights.gather(-1, index).squeeze(-1)
        return (own * counted(labels)).sum()


def item_weights(weights: Tensor | None, logits: Tensor, labels: Tensor) -> Tensor | None:
    """Return class weights (C,) or (A, C) for each valid item: (N, C), in the order of `flatten`.

    Raises:
        ValueError: if there is neither one weight nor one for each class.
    """
    if weights is None:
        return None
    # torch would refuse other numbers too, with a message about shapes.
    if weights.shape[-1] not in (1, logits.shape[-1]):
        raise ValueError(f"there are {weights.shape[-1]} values for {logits.shape[-1]} classes")
    of_batch = weights.to(logits).expand(1, *logits.shape[1:])
    valid, _ = flatten(of_batch, labels)
    return valid[0]
