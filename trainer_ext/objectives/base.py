"""Terms of a loss and the objective that adds them up, exactly also under gradient accumulation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

HEADS = {"labels": "logits", "token_labels": "token_logits"}
"""A head is called by the name of its labels in a batch; the values are the names of the model's outputs."""

TEACHER = "teacher_"
"""Before the name of a head: what its teacher answers, (B, ..., C), in a batch of training rows."""

IS_LABELLED = "is_labelled"
"""In a batch of training rows of which some have no labels: (B,) booleans."""

ByHead = Tensor | Mapping[str, Tensor]
"""The tensor of the only head, or tensors by the name of their head."""


class Term(ABC):
    """One named part of the loss: a weighted mean over items.

    An item is what is predicted: a row, or each aspect, class (multi-label), target (regression) or word of a row.
    Items with a class index below zero do not count: -100, and what the joint task gives to labels no training row has.
    """

    name: str
    head: str = "labels"
    """The head whose logits and labels it takes, by the name of the labels."""
    takes_teacher: bool = False
    """Whether it is given what the teacher answers in place of the labels."""
    passes: int = 1
    """Stochastic forward passes needed: 2 for terms that compare a pair. Others average over the passes there are."""

    @property
    def target(self) -> str:
        """What it compares the logits with, by its name in a batch."""
        return TEACHER + self.head if self.takes_teacher else self.head

    @abstractmethod
    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over items of the weighted loss, averaged over passes (a scalar).

        Args:
            logits: (K, B, ..., C): K passes over the batch.
            labels: (B, ...): class indices, -100 for items that do not count; (B, C): flags (int) or scores (float).
        """

    def total_weight(self, labels: Tensor) -> Tensor:
        """Return what the sum is divided by: the number of valid items, unless items have weights."""
        return counted(labels).sum().float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the items of this batch."""
        # The clamp: a batch may have no item that counts.
        return self.sums(logits, labels) / self.total_weight(labels).clamp(min=1e-8)


class ElementTerm(Term):
    """A mean over the entries of labels (B, C) that are shaped as the logits of one pass."""

    @abstractmethod
    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss (K, B, C) of each entry of logits (K, B, C), given labels (B, C) in the logits' type."""

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over entries, averaged over passes."""
        losses = self.elements(logits, labels.to(logits))
        passes = logits.shape[0]
        return (losses * counted(labels)).sum() / passes


class StepTerm(Term):
    """A term that is not a mean over items: each batch's share needs statistics of the whole optimizer step."""

    @property
    def statistics_key(self) -> str:
        """The key of the statistics among the weights of a step."""
        return f"statistics_{self.name}"

    @abstractmethod
    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what adds up over the batches of a step."""

    @abstractmethod
    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor, weight: Tensor) -> Tensor:
        """Return this batch's share of the value *and gradient* of the joined batch.

        Args:
            logits: (K, B, ..., C), of this batch.
            labels: of this batch.
            statistics: of the joined batch.
            weight: of the joined batch.
        """

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the value for this batch alone, times its weight."""
        weight = self.total_weight(labels)
        statistics = self.statistics(logits.detach(), labels)
        return weight * self.share(logits, labels, statistics, weight)


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms.

    Attributes:
        terms: each after its weight.
        evaluation: what rows without a teacher are evaluated with; None: the same terms.
    """

    terms: tuple[tuple[float, Term], ...]
    evaluation: "Objective | None" = None

    @property
    def passes(self) -> int:
        """Passes to run in one forward while training."""
        return max(term.passes for _, term in self.terms)

    def total_weights(self, labels: ByHead) -> dict[str, Tensor]:
        """Return, per term, the weight of a batch of labels; these add up over the batches of an optimizer step."""
        weights = {}
        for _, term in self.terms:
            weights[term.name] = term.total_weight(of_head(labels, term.target))
        return weights

    @property
    def needs_statistics(self) -> bool:
        """Whether a term needs statistics of the whole optimizer step, and so a forward pass over it first."""
        return any(isinstance(term, StepTerm) for _, term in self.terms)

    def statistics(self, logits: ByHead, labels: ByHead) -> dict[str, Tensor]:
        """Return what adds up over the batches of a step, by `statistics_<term>`: to be joined with `total_weights`."""
        statistics = {}
        for _, term in self.terms:
            if isinstance(term, StepTerm):
                own_logits = of_head(logits, term.head).float()
                own_labels = of_head(labels, term.target)
                statistics[term.statistics_key] = term.statistics(own_logits, own_labels)
        return statistics

    def __call__(
        self,
        logits: ByHead,
        labels: ByHead,
        step_weights: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Return the loss of a batch, and for each term by name its sum and its weight in this batch (detached).

        Args:
            logits: (K, B, ..., C), or these by head. With K = 1 (evaluation) terms that compare passes are left out.
            labels: (B, ...), or these by head, with the teacher's beside them for terms that take it.
            step_weights: per term, the weight of *all* batches of this optimizer step. The losses of those batches
                then add up to the loss of the joined batch, however uneven they are; for a `StepTerm` only with
                its statistics here too. None: this batch alone.
        """
        loss: Tensor | float = 0.0
        values = {}
        for weight, term in self.terms:
            # In float32: a sum of many items overflows in half precision.
            own_logits = of_head(logits, term.head).float()
            own_labels = of_head(labels, term.target)
            if term.passes > own_logits.shape[0]:
                continue
            own_weight = term.total_weight(own_labels)
            step_weight = own_weight if step_weights is None else step_weights[term.name]
            total = sum_in_step(term, own_logits, own_labels, step_weights or {})
            # The clamp: no batch of the step may have an item that counts.
            loss = loss + weight * total / step_weight.clamp(min=1e-8)
            values[term.name] = (total.detach(), own_weight)
        return torch.as_tensor(loss), values


def sum_in_step(
    term: Term,
    logits: Tensor,
    labels: Tensor,
    step_weights: Mapping[str, Tensor],
) -> Tensor:
    """Return a term's sum over this batch; of a `StepTerm` its share of the step, if there are statistics of it."""
    if not isinstance(term, StepTerm) or term.statistics_key not in step_weights:
        return term.sums(logits, labels)
    weight = step_weights[term.name]
    return weight * term.share(logits, labels, step_weights[term.statistics_key], weight)


def of_head(values: ByHead, head: str) -> Tensor:
    """Return the tensor of one head; if there is only one head, the tensor itself."""
    if isinstance(values, Mapping):
        return values[head]
    return values


def counted(labels: Tensor) -> Tensor:
    """Return which items count, as booleans: all scores, and class indices or flags that are not negative."""
    # A score below zero is a score.
    if labels.is_floating_point():
        return torch.ones_like(labels, dtype=torch.bool)
    return labels >= 0


def flatten(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Keep valid items only: logits (K, B, ..., C) -> (K, N, C) and labels (B, ...) -> (N,)."""
    passes, classes = logits.shape[0], logits.shape[-1]
    flat = labels.reshape(-1)
    valid = flat >= 0
    return logits.reshape(passes, flat.numel(), classes)[:, valid], flat[valid]
