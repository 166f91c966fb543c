"""Metrics of an evaluation whose batches are reduced one by one to what the metrics need."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import EvalPrediction

from trainer_ext.errors import RunError
from trainer_ext.tasks import Task
from trainer_ext.tasks.base import NOT_FINITE
from trainer_ext.training.nested import Nested, as_tuple, join, to_arrays, to_tensors


class BatchMetrics:
    """`preprocess_logits_for_metrics` and `compute_metrics` of the Trainer, which belong together.

    All logits of a large validation set would fill the memory. Whether they were finite is therefore noted batch by
    batch, before they are reduced.

    Args:
        task: reduces a batch and computes the metrics.
        device: of the evaluation.
        true_on_all_devices: whether a flag (a tensor of one boolean) is true in every process.
    """

    def __init__(
        self,
        task: Task,
        device: torch.device,
        true_on_all_devices: Callable[[Tensor], bool],
    ):
        self.task = task
        self.device = device
        self.true_on_all_devices = true_on_all_devices
        self._finite = torch.tensor(True, device=device)

    def reduce(self, logits: Nested, labels: Nested) -> Any:
        """Return what the metrics need of a batch."""
        # A NaN may vanish in the reduction: argmax gives a class for it.
        for part in as_tuple(logits):
            self._finite = self._finite & part.isfinite().all()
        # As tensors again: Trainer gathers them from the processes.
        return to_tensors(self.task.reduce(to_arrays(logits), to_arrays(labels)), self.device)

    def of_reduced(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return the metrics of the reduced batches of all processes.

        Raises:
            RunError: if a logit of any batch was not finite.
        """
        # All processes decide together: if one raised alone, the others would wait for it forever.
        finite = self.true_on_all_devices(self._finite)
        self._finite = torch.tensor(True, device=self.device)
        if not finite:
            raise RunError(NOT_FINITE)
        return self.task.metrics_of(join(prediction.predictions), join(prediction.label_ids))

    def of_logits(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return the metrics of batches that were not reduced.

        Raises:
            RunError: if a logit is not finite.
        """
        logits = join(prediction.predictions)
        self.task.check_finite(logits)
        return self.task.compute_metrics(logits, join(prediction.label_ids))
