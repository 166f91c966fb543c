"""Terms of a loss and the objective that adds them up, exactly also under gradient accumulation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

IGNORE = -100
HEADS = {"labels": "logits", "token_labels": "token_logits"}
"""A head is called by the name of its labels in a batch; the values are the names of the model's outputs."""


class Term(ABC):
    """One named part of the loss: a weighted mean over items.

    An item is what is predicted: a row, or each aspect or word of a row. Items with a label below zero do not count:
    -100, and what the joint task gives to labels that no training row has.
    """

    name: str
    head: str = "labels"
    """The head whose logits and labels it takes, by the name of the labels."""
    passes: int = 1
    """Stochastic forward passes needed: 2 for terms that compare a pair. Others average over the passes there are."""

    @abstractmethod
    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over items of the weighted loss, averaged over passes (a scalar).

        Args:
            logits: (K, B, ..., C): K passes over the batch.
            labels: (B, ...): class indices, -100 for items that do not count.
        """

    def total_weight(self, labels: Tensor) -> Tensor:
        """What the sum is divided by: the number of valid items, unless items have weights."""
        return (labels >= 0).sum().float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the items of this batch."""
        return self.sums(logits, labels) / self.total_weight(labels).clamp(min=1e-8)


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms."""

    terms: tuple[tuple[float, Term], ...]

    @property
    def passes(self) -> int:
        """Passes to run in one forward while training."""
        return max(term.passes for _, term in self.terms)

    def total_weights(self, labels: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Per term, the weight of a batch of labels; these add up over the batches of an optimizer step."""
        return {term.name: term.total_weight(of_head(labels, term.head)) for _, term in self.terms}

    def __call__(
        self,
        logits: Tensor | Mapping[str, Tensor],
        labels: Tensor | Mapping[str, Tensor],
        step_weights: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """The loss of a batch, and for each term by name its sum and its weight in this batch (detached).

        Args:
            logits: (K, B, ..., C), or these by head. With K = 1 (evaluation) terms that compare passes are left out.
            labels: (B, ...), or these by head.
            step_weights: per term, the weight of *all* batches of this optimizer step. The losses of those batches
                then add up to the loss of the joined batch, however uneven they are. None: this batch alone.
        """
        loss, values = 0.0, {}
        for weight, term in self.terms:
            own_logits, own_labels = of_head(logits, term.head).float(), of_head(labels, term.head)
            if term.passes > own_logits.shape[0]:
                continue
            total, own = term.sums(own_logits, own_labels), term.total_weight(own_labels)
            whole = own if step_weights is None else step_weights[term.name]
            loss = loss + weight * total / whole.clamp(min=1e-8)
            values[term.name] = (total.detach(), own)
        return loss, values


def of_head(values: Tensor | Mapping[str, Tensor], head: str) -> Tensor:
    """The tensor of one head; where there is only one head, the tensor itself."""
    return values[head] if isinstance(values, Mapping) else values


def flatten(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Valid items only: logits (K, B, ..., C) -> (K, N, C) and labels (B, ...) -> (N,)."""
    flat = labels.reshape(-1)
    valid = flat >= 0
    return logits.reshape(logits.shape[0], flat.numel(), logits.shape[-1])[:, valid], flat[valid]
