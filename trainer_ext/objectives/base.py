"""Terms of a loss and the objective that adds them up, exactly also under gradient accumulation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

HEADS = {"labels": "logits", "token_labels": "token_logits"}
"""A head is called by the name of its labels in a batch; the values are the names of the model's outputs."""


class Term(ABC):
    """One named part of the loss: a weighted mean over items.

    An item is what is predicted: a row, or each aspect, class (multi-label), target (regression) or word of a row.
    Items with a class index below zero do not count: -100, and what the joint task gives to labels no training row has.
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
            labels: (B, ...): class indices, -100 for items that do not count; (B, C): flags (int) or scores (float).
        """

    def total_weight(self, labels: Tensor) -> Tensor:
        """What the sum is divided by: the number of valid items, unless items have weights."""
        return counted(labels).sum().float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the items of this batch."""
        return self.sums(logits, labels) / self.total_weight(labels).clamp(min=1e-8)


class ElementTerm(Term):
    """A mean over the entries of labels (B, C) that are shaped as the logits of one pass."""

    @abstractmethod
    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss (K, B, C) of each entry of logits (K, B, C), given labels (B, C) in the logits' type."""

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over entries, mean over passes."""
        return (self.elements(logits, labels.to(logits)) * counted(labels)).sum() / logits.shape[0]


class StepTerm(Term):
    """A term that is no mean over items: each batch's share needs statistics of the whole optimizer step."""

    @abstractmethod
    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What adds up over the batches of a step."""

    @abstractmethod
    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor, weight: Tensor) -> Tensor:
        """This batch's share of the value *and gradient* of the joined batch, whose statistics and weight are given."""

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The value for this batch alone, times its weight."""
        weight = self.total_weight(labels)
        return weight * self.share(logits, labels, self.statistics(logits.detach(), labels), weight)


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

    @property
    def needs_statistics(self) -> bool:
        """Whether a term needs statistics of the whole optimizer step, and so a forward pass over it first."""
        return any(isinstance(term, StepTerm) for _, term in self.terms)

    def statistics(
        self, logits: Tensor | Mapping[str, Tensor], labels: Tensor | Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """By `statistics_<term>`, what adds up over the batches of a step: to be joined with `total_weights`."""
        return {
            f"statistics_{term.name}": term.statistics(
                of_head(logits, term.head).float(), of_head(labels, term.head)
            )
            for _, term in self.terms
            if isinstance(term, StepTerm)
        }

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
                then add up to the loss of the joined batch, however uneven they are; for a `StepTerm` only with
                its statistics here too. None: this batch alone.
        """
        loss, values = 0.0, {}
        for weight, term in self.terms:
            own_logits, own_labels = of_head(logits, term.head).float(), of_head(labels, term.head)
            if term.passes > own_logits.shape[0]:
                continue
            own = term.total_weight(own_labels)
            whole = own if step_weights is None else step_weights[term.name]
            statistics = (step_weights or {}).get(f"statistics_{term.name}")
            if statistics is None:
                total = term.sums(own_logits, own_labels)
            else:
                total = whole * term.share(own_logits, own_labels, statistics, whole)
            loss = loss + weight * total / whole.clamp(min=1e-8)
            values[term.name] = (total.detach(), own)
        return loss, values


def of_head(values: Tensor | Mapping[str, Tensor], head: str) -> Tensor:
    """The tensor of one head; where there is only one head, the tensor itself."""
    return values[head] if isinstance(values, Mapping) else values


def counted(labels: Tensor) -> Tensor:
    """Which items count, as booleans: all scores, and class indices or flags that are not negative."""
    return torch.ones_like(labels, dtype=torch.bool) if labels.is_floating_point() else labels >= 0


def flatten(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Valid items only: logits (K, B, ..., C) -> (K, N, C) and labels (B, ...) -> (N,)."""
    flat = labels.reshape(-1)
    valid = flat >= 0
    return logits.reshape(logits.shape[0], flat.numel(), logits.shape[-1])[:, valid], flat[valid]
