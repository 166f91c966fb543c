"""`TrainingArguments`: the flags of transformers and ours, in one dataclass. Importing it loads torch."""

import os
from dataclasses import dataclass, field

import torch
import transformers
from transformers.utils import is_torch_cuda_available

from trainer_ext.arguments.optimisation import OptimisationArguments
from trainer_ext.arguments.own_training import OwnTrainingArguments, greater_is_better
from trainer_ext.arguments.precision import PrecisionArguments


@dataclass
class TrainingArguments(
    OwnTrainingArguments, OptimisationArguments, PrecisionArguments, transformers.TrainingArguments
):
    """`transformers.TrainingArguments` and what this project adds to the optimisation and its tracking."""

    # Taken from the command line by DataArguments.label_names, the classes; here it names the batch's label tensors.
    label_names: list[str] = field(default_factory=lambda: ["labels"], init=False)

    def __post_init__(self):
        self._check_launch()
        self.settle_precision()
        if self.metric_for_best_model and self.greater_is_better is None:
            self.greater_is_better = greater_is_better(self.metric_for_best_model)
        if self.gradient_checkpointing and self.gradient_checkpointing_kwargs is None:
            self.gradient_checkpointing_kwargs = {
                "use_reentrant": False
            }  # the other kind trains nothing above frozen
        if self.report_to is None:
            self.report_to = "wandb"
        if self.save_total_limit == 1 and self.load_best_model_at_end:
            self.save_total_limit = (
                2  # with 1 Trainer deletes the last checkpoint at the end, unless it is the best
            )
        super().__post_init__()
        self.save_safetensors = True
        if self.device.type == "cpu":
            self.dataloader_pin_memory = (
                False  # it is for copies to an accelerator; torch warns where there is none
            )
        if self.accelerator_config.dispatch_batches is None:
            # A stream's batches would be read by one process and joined before they are dealt out, which ragged rows
            # do not allow; each process reads the stream and takes its share instead.
            self.accelerator_config.dispatch_batches = False

    def _check_launch(self) -> None:
        """Under torchrun: processes that train together on CPUs, or each on a GPU of its own.

        Raises:
            ValueError: for more processes than GPUs.
        """
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if not is_torch_cuda_available():
            # Else each process would train everything by itself, in one folder.
            self.use_cpu = self.use_cpu or int(os.environ.get("WORLD_SIZE", "1")) > 1
        elif not self.use_cpu and processes > torch.cuda.device_count():
            raise ValueError(
                f"{processes} processes were launched, but there are {torch.cuda.device_count()} GPUs: launch one a "
                "GPU, or give --use_cpu true"
            )

    @property
    def n_gpu(self) -> int:
        """At most 1: with more in one process the Trainer would take DataParallel, which multiplies the batch and
        deals out the passes of R-Drop and multi-sample dropout with other rows' labels."""
        return min(super().n_gpu, 1)

    @property
    def device(self) -> torch.device:
        """The CPU without a number, which several processes give it: torch loads no checkpoint onto `cpu:0`."""
        found = super().device
        return torch.device("cpu") if found.type == "cpu" else found
