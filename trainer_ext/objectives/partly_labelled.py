"""The objective of steps in which some rows have labels, and the others only what the teacher answers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer_ext.objectives.base import IS_LABELLED, ByHead, Objective

PREFIX = "unlabelled_"
"""Before the names of the terms of rows without labels, among the weights of a step."""
ROWS = "labelled_rows"
UNLABELLED_ROWS = "unlabelled_rows"


@dataclass(frozen=True)
class Part:
    """The rows of a batch that share an objective.

    Attributes:
        objective: of these rows.
        rows: (B,), which they are.
        share: of the rows of the optimizer step.
        step_weights: of `objective` over the step.
    """

    objective: Objective
    rows: Tensor
    share: Tensor
    step_weights: Mapping[str, Tensor] | None


@dataclass(frozen=True, kw_only=True)
class PartlyLabelledObjective(Objective):
    """The mean over rows: n_l / n times the objective of the n_l labelled rows, plus n_u / n times that of the others.

    n = n_l + n_u are the rows of the whole optimizer step, so that each row counts alike however a batch is mixed. Both
    parts see their own rows only: no term has to know of rows without labels.

    Attributes:
        unlabelled: what rows without labels are trained with.
    """

    unlabelled: Objective

    def total_weights(self, labels: ByHead) -> dict[str, Tensor]:
        """Return the weights of both parts, and how many rows each has; labels must have `IS_LABELLED` (B,)."""
        is_labelled = labelled_rows(labels)
        weights = super().total_weights(rows_of(labels, is_labelled))
        others = self.unlabelled.total_weights(rows_of(labels, ~is_labelled))
        for name, weight in others.items():
            weights[PREFIX + name] = weight
        weights[ROWS] = is_labelled.sum().float()
        weights[UNLABELLED_ROWS] = (~is_labelled).sum().float()
        return weights

    def statistics(self, logits: ByHead, labels: ByHead) -> dict[str, Tensor]:
        """Return the statistics of both parts."""
        is_labelled = labelled_rows(labels)
        statistics = super().statistics(
            logits_of(logits, is_labelled), rows_of(labels, is_labelled)
        )
        others = self.unlabelled.statistics(
            logits_of(logits, ~is_labelled), rows_of(labels, ~is_labelled)
        )
        for name, value in others.items():
            statistics[PREFIX + name] = value
        return statistics

    def __call__(
        self,
        logits: ByHead,
        labels: ByHead,
        step_weights: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Return the loss, and each term's sum and weight; a term that both parts have is summed over both."""
        loss: Tensor | float = 0.0
        values: dict[str, tuple[Tensor, Tensor]] = {}
        for part in self.parts(labels, step_weights):
            # Without a row a mean would be 0 / 0.
            if not part.rows.any():
                continue
            own_loss, own_values = part.objective(
                logits_of(logits, part.rows), rows_of(labels, part.rows), part.step_weights
            )
            loss = loss + part.share * own_loss
            for name, (total, weight) in own_values.items():
                before = values.get(name, (torch.zeros_like(total), torch.zeros_like(weight)))
                values[name] = (before[0] + total, before[1] + weight)
        return torch.as_tensor(loss), values

    def parts(self, labels: ByHead, step_weights: Mapping[str, Tensor] | None) -> list[Part]:
        """Return the labelled rows of a batch and the others."""
        is_labelled = labelled_rows(labels)
        weights = step_weights
        if weights is None:
            weights = {ROWS: is_labelled.sum(), UNLABELLED_ROWS: (~is_labelled).sum()}
        total = weights[ROWS] + weights[UNLABELLED_ROWS]
        labelled_share = weights[ROWS] / total
        of_unlabelled = None if step_weights is None else without_prefix(step_weights)
        return [
            Part(Objective(self.terms), is_labelled, labelled_share, step_weights),
            Part(self.unlabelled, ~is_labelled, 1 - labelled_share, of_unlabelled),
        ]


def labelled_rows(labels: ByHead) -> Tensor:
    """Return (B,) whether a row has a label."""
    assert isinstance(labels, Mapping), "the trainer hands over labels by head"
    return labels[IS_LABELLED]


def rows_of(labels: ByHead, rows: Tensor) -> dict[str, Tensor]:
    """Return the labels of some rows, by head."""
    assert isinstance(labels, Mapping), "the trainer hands over labels by head"
    return {name: value[rows] for name, value in labels.items() if name != IS_LABELLED}


def logits_of(logits: ByHead, rows: Tensor) -> dict[str, Tensor]:
    """Return the logits (K, B, ...) of some rows, by head."""
    assert isinstance(logits, Mapping), "the trainer hands over logits by head"
    return {name: value[:, rows] for name, value in logits.items()}


def without_prefix(step_weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights (and statistics) of the terms of rows without labels, by the terms' own names."""
    weights = {}
    for name, weight in step_weights.items():
        if name.startswith(PREFIX):
            weights[name.removeprefix(PREFIX)] = weight
    return weights
