"""Mean squared error for regression."""

from torch import Tensor

from trainer_ext.objectives.base import ElementTerm


class MSETerm(ElementTerm):
    """Mean over rows, targets and passes of (score - label)^2, in the square of the label's unit."""

    name = "mse"

    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (K, B, T)."""
        return (logits - labels) ** 2
