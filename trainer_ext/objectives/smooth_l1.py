"""Smooth L1 for regression."""

from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import ElementTerm


class SmoothL1Term(ElementTerm):
    """Mean over rows, targets and passes of d^2 / 2 where |d| < 1, else |d| - 1/2, with d = score - label.

    Source: Girshick, Fast R-CNN (arXiv:1504.08083), eq. 3. In the unit of the label; computed by torch.
    """

    name = "smooth_l1"

    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (K, B, T)."""
        return F.smooth_l1_loss(logits, labels.expand_as(logits), reduction="none")
