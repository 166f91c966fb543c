"""`TrainingArguments`: the flags of transformers and ours, in one dataclass. Importing it loads torch."""

import os
from dataclasses import dataclass, field
from typing import cast

import torch
import transformers
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.utils import is_torch_cuda_available

from trainer_ext.arguments.optimisation import OptimisationArguments
from trainer_ext.arguments.own_training import OwnTrainingArguments, greater_is_better
from trainer_ext.arguments.precision import PrecisionArguments
from trainer_ext.arguments.report import ReportArguments
from trainer_ext.compatibility import GoneArguments


@dataclass
class TrainingArguments(
    GoneArguments,
    OwnTrainingArguments,
    OptimisationArguments,
    PrecisionArguments,
    ReportArguments,
    transformers.TrainingArguments,
):
    """`transformers.TrainingArguments` and what this project adds to the optimisation and its tracking."""

    # Taken from the command line by DataArguments.label_names, the classes; here it names the batch's label tensors.
    label_names: list[str] = field(default_factory=lambda: ["labels"], init=False)

    def __post_init__(self) -> None:
        self._check_launch()
        self.settle_precision()
        if self.metric_for_best_model and self.greater_is_better is None:
            self.greater_is_better = greater_is_better(self.metric_for_best_model)
        if self.gradient_checkpointing and self.gradient_checkpointing_kwargs is None:
            # The other kind trains nothing above frozen layers.
            self.gradient_checkpointing_kwargs = {"use_reentrant": False}
        if self.report_to is None:
            self.report_to = "wandb"
        if self.save_total_limit == 1 and self.load_best_model_at_end:
            # With 1 the Trainer deletes the last checkpoint at the end, unless it is the best.
            self.save_total_limit = 2
        super().__post_init__()  # type: ignore[no-untyped-call]  # transformers has no types there
        self.save_safetensors = True
        self.settle_gone_flags()
        if self.device.type == "cpu":
            # It is for copies to an accelerator; without one torch warns.
            self.dataloader_pin_memory = False
        accelerator = cast(AcceleratorConfig, self.accelerator_config)
        if accelerator.dispatch_batches is None:
            # A stream's batches would be read by one process and joined before they are dealt out, which ragged rows
            # do not allow; each process reads the stream and takes its share instead.
            accelerator.dispatch_batches = False

    def _check_launch(self) -> None:
        """Check that processes of torchrun train together on CPUs, or each on a GPU of its own.

        Raises:
            ValueError: for more processes than GPUs.
        """
        if not is_torch_cuda_available():
            # Otherwise each process would train everything by itself, in one folder.
            self.use_cpu = self.use_cpu or int(os.environ.get("WORLD_SIZE", "1")) > 1
            return
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        gpus = torch.cuda.device_count()
        if not self.use_cpu and processes > gpus:
            raise ValueError(
                f"{processes} processes were launched, but there are {gpus} GPUs: launch one a GPU, or give --use_cpu "
                "true"
            )

    @property
    def n_gpu(self) -> int:
        """Return at most 1.

        With more in one process the Trainer would take DataParallel, which multiplies the batch and deals out the
        passes of R-Drop and multi-sample dropout with other rows' labels.
        """
        return min(int(super().n_gpu), 1)

    @property
    def device(self) -> torch.device:
        """Return the CPU without a number, which several processes give it: torch loads nothing onto `cpu:0`."""
        found: torch.device = super().device
        return torch.device("cpu") if found.type == "cpu" else found
