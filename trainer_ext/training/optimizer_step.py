"""What the batches of one optimizer step have in common, so that their losses add up to that of the joined batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer_ext.objectives.base import Objective

Batch = dict[str, Any]
ByHead = Mapping[str, Tensor]
"""Logits (passes, B, ..., C) or labels (B, ...) under the name of their labels."""


class OptimizerStep:
    """The weights of all batches of an optimizer step and, for the exact RMSE, the step's statistics.

    A mean over items needs only the number of items in the whole step. A `StepTerm` such as the RMSE (a root of a
    mean) needs sums over the predictions of the whole step before the first backward.

    One object is made for each optimizer step. The trainer calls its methods in this order:

    1. `OptimizerStep(...)` when the batches of the step were drawn.
    2. `measure(forward)` before the first batch is trained on, and only if `is_unmeasured`.
    3. For each batch `for_clean_run`, then `for_perturbed_run` once for each adversarial run of the *same* batch.

    Args:
        objective: what is minimised.
        weights: by term, the weight of all batches of the step on all devices.
        batches: those of this process, if statistics of the step are needed; else none.
    """

    def __init__(
        self,
        objective: Objective,
        weights: Mapping[str, Tensor],
        batches: Sequence[Batch] = (),
    ):
        self.objective = objective
        self.weights = dict(weights)
        self._unmeasured = list(batches)
        self._statistics: dict[str, Tensor] = {}
        self._own_clean: dict[str, Tensor] = {}

    @property
    def is_unmeasured(self) -> bool:
        """Whether the statistics of the step are needed and not there yet."""
        return bool(self._unmeasured)

    @torch.no_grad()
    def measure(
        self,
        forward: Callable[[Batch], tuple[ByHead, ByHead]],
        sum_over_devices: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    ) -> None:
        """Run every batch forward once and sum up the statistics, with the dropout that training will draw.

        This must wait until the first batch is trained on: when the batches are drawn, a resumed run does not have its
        random state yet, and with `--ema_decay` the model still holds the average.

        Args:
            forward: logits and labels of a batch.
            sum_over_devices: add up tensors over the processes.
        """
        totals: dict[str, Tensor] = {}
        # Training must draw the very same dropout again, or the statistics would be those of other predictions.
        with torch.random.fork_rng():
            for batch in self._unmeasured:
                logits, labels = forward(batch)
                add_to(totals, self.objective.statistics(logits, labels))
        self._statistics = sum_over_devices(totals)
        self._unmeasured = []

    @torch.no_grad()
    def for_clean_run(self, logits: ByHead, labels: ByHead) -> dict[str, Tensor]:
        """Return the step's weights and statistics for a batch as it is."""
        if self._statistics:
            # Part of the step's statistics, which perturbed runs of this batch replace by their own.
            self._own_clean = self.objective.statistics(logits, labels)
        return self.weights | self._statistics

    @torch.no_grad()
    def for_perturbed_run(self, logits: ByHead, labels: ByHead) -> dict[str, Tensor]:
        """Return weights and statistics as they are while *this* batch is perturbed and the others are not."""
        # Without them this batch is the whole step, and the objective measures it by itself.
        if not self._statistics:
            return self.weights
        own = self.objective.statistics(logits, labels)
        statistics = {}
        for name, total in self._statistics.items():
            statistics[name] = total - self._own_clean[name] + own[name]
        return self.weights | statistics


def add_to(totals: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Add each value to the total of its name, in place."""
    for name, value in values.items():
        if name in totals:
            value = totals[name] + value
        totals[name] = value
