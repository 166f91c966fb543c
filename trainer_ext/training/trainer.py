"""`CustomTrainer`: the Hugging Face Trainer with an objective of named terms."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers.trainer_utils import PredictionOutput

from trainer_ext.compatibility import save_tokenizer
from trainer_ext.data.preprocessing.tokenize import WORD_NUMBERS
from trainer_ext.data.sampling.resample import Resampler
from trainer_ext.data.sampling.sampler import BalancedSampler, LengthGroupedSampler
from trainer_ext.data.teacher_outputs import LABELLED, TEACHER_ROW
from trainer_ext.errors import RunError
from trainer_ext.files import share_weights
from trainer_ext.objectives.base import HEADS, IS_LABELLED, TEACHER, Objective
from trainer_ext.objectives.layer_distillation import TOKENS
from trainer_ext.tasks import Task
from trainer_ext.training.adversarial import (
    adversarial_backward,
    build_adversary,
    keep_random_state_if_active,
)
from trainer_ext.training.batch_metrics import BatchMetrics
from trainer_ext.training.devices import Devices
from trainer_ext.training.ema import EmaCallback
from trainer_ext.training.hub import push_checkpoint
from trainer_ext.training.layer_teacher import LayerTeacher
from trainer_ext.training.nested import join, pad
from trainer_ext.training.optimizer_step import Batch, ByHead, OptimizerStep, add_to
from trainer_ext.training.parameter_groups import groups_of_flags
from trainer_ext.training.resumable_trainer import ResumableTrainer
from trainer_ext.training.term_means import TermMeans


class CustomTrainer(ResumableTrainer):
    """Everything `Trainer` does, with these differences.

    - The loss is the `objective`: the batch is repeated for as many stochastic passes as its terms need, in one
      forward (so one backward, and DistributedDataParallel is none the wiser).
    - Under gradient accumulation and on several devices each term is normalised by its items in the *whole* optimizer
      step (`OptimizerStep`), so 8x1, 4x2 and 2x4 take the same step even if batches hold different numbers of items.
    - Every term is logged by name (`loss_focal`, `loss_rdrop`) beside `loss`.
    - With `--adversarial` each micro-batch is run again with perturbed parameters and both gradients add up; what is
      reported as `loss` is the clean one, beside it `loss_adversarial`.
    - Layer-wise learning rates; length-grouped and balanced batches that a resumed run repeats; no pickled arguments on
      disk.
    - The best model is the best that was evaluated, and a resumed run obeys its flags (`ResumableTrainer`).

    Args:
        objective: what to minimise.
        task: gives the metrics.
        resampler: draws each epoch's training rows (`--balance`); None: each row once.
    """

    objective: Objective
    task: Task

    def __init__(
        self,
        *args,
        objective: Objective,
        task: Task,
        resampler: Resampler | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)  # sets `compute_metrics`, so that ours comes after it
        self.objective = objective
        self.task = task
        self.resampler = resampler
        self.devices = Devices(self.accelerator)
        self.metrics = BatchMetrics(task, self.args.device, self.devices.all_true)
        self.compute_metrics = self.metrics.of_reduced
        self.preprocess_logits_for_metrics = self.metrics.reduce
        # Else each new batch is joined to a copy of all before it.
        self.args.eval_do_concat_batches = False
        # Else Trainer, which sees **kwargs in some forwards, leaves the division by the accumulation steps to them.
        self.model_accepts_loss_kwargs = False
        self.adversary = build_adversary(self.args)
        self.average: EmaCallback | None = None
        if self.args.ema_decay:
            self.average = EmaCallback(self.args.ema_decay)
            self.add_callback(self.average)
        self.term_means = TermMeans()
        self.layer_teacher: LayerTeacher | None = None
        self._train_dataloader: DataLoader | None = None

    def _get_num_items_in_batch(  # type: ignore[override]  # Trainer only hands it on, to training_step
        self,
        batch_samples: list[Batch],
        device: torch.device,
    ) -> OptimizerStep:
        """Return the weights of all batches of this optimizer step, on all devices."""
        weights: dict[str, Tensor] = {}
        for batch in batch_samples:
            labels = {name: batch[name].to(device) for name in self._weighed_by(batch)}
            # transformers asks for this in evaluations, too.
            add_to(weights, self._objective_for(batch).total_weights(labels))
        weights = self.devices.sum(weights)
        # If one batch is the whole step, its own forward gives the statistics.
        is_split = len(batch_samples) > 1 or self.devices.count > 1
        if self.objective.needs_statistics and is_split:
            return OptimizerStep(self.objective, weights, batch_samples)
        return OptimizerStep(self.objective, weights)

    def training_step(
        self,
        model: nn.Module,
        inputs: Batch,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """Run one micro-batch forward and backward; from `adversarial_start_epoch` on also perturbed."""
        step: OptimizerStep | None = num_items_in_batch
        if step is not None and step.is_unmeasured:
            step.measure(self._forward_for_statistics, self.devices.sum)
        backward = partial(super().training_step, model, inputs, num_items_in_batch)
        adversary = self.adversary
        epoch = self.state.epoch or 0
        if adversary is None or epoch < self.args.adversarial_settings().start_epoch:
            return backward()
        if self.objective.needs_statistics:
            # The next batch must draw the dropout that its statistics were made with.
            backward = partial(keep_random_state_if_active, adversary, backward)
        loss, adversarial_loss = adversarial_backward(
            adversary,
            self.accelerator.unwrap_model(model),
            backward,
            unsynchronised=partial(self.accelerator.no_sync, model),
        )
        # Each micro-batch returns its share of a step's loss, so the micro-batches of a step weigh 1 together.
        self.term_means.add(
            "adversarial", adversarial_loss, 1 / self.current_gradient_accumulation_steps
        )
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the objective on this batch's share of the optimizer step; in evaluation its plain mean.

        Args:
            model: may be wrapped for several devices.
            inputs: features and labels of the batch.
            return_outputs: whether to return the model's outputs beside the loss.
            num_items_in_batch: in training the `OptimizerStep` that the batch belongs to.
        """
        if model.training:
            loss, outputs = self._training_loss(model, inputs, num_items_in_batch)
        else:
            loss, outputs = self._evaluation_loss(model, inputs)
        return (loss, outputs) if return_outputs else loss

    def _training_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        step: OptimizerStep | None,
    ) -> tuple[Tensor, Any]:
        """Return the loss, scaled so that the losses of a step add up to its mean, and the outputs."""
        logits, labels, outputs = self._logits(
            model, inputs, self.objective.passes, with_layers=self.layer_teacher is not None
        )
        if self.layer_teacher is not None:
            states = outputs.hidden_states
            logits |= self.layer_teacher.measure(inputs, states, self.objective.passes)
            labels[TOKENS] = inputs[TOKENS]
        is_perturbed = self.adversary is not None and self.adversary.active
        if step is None:
            step_weights = None
        elif is_perturbed:
            step_weights = step.for_perturbed_run(logits, labels)
        else:
            step_weights = step.for_clean_run(logits, labels)
        loss, values = self.objective(logits, labels, step_weights)
        if not is_perturbed:
            for name, (total, weight) in values.items():
                self.term_means.add(name, total, weight)
        # Trainer divides by the accumulation steps, DistributedDataParallel by the devices: the weights did both.
        scale = self.current_gradient_accumulation_steps * self.args.world_size
        return loss * scale, outputs

    def _evaluation_loss(self, model: nn.Module, inputs: Batch) -> tuple[Tensor, Any]:
        """Return the mean over the rows of a batch, without those that another process evaluates too."""
        logits, labels, outputs = self._logits(model, inputs, passes=1)
        own = self.devices.own_rows(len(labels["labels"]))
        logits = {name: value[:, :own] for name, value in logits.items()}
        labels = {name: value[:own] for name, value in labels.items()}
        loss, _ = self._objective_for(inputs)(logits, labels)
        return loss, outputs

    def _logits(
        self,
        model: nn.Module,
        inputs: Batch,
        passes: int,
        with_layers: bool = False,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
        """Run the batch, repeated `passes` times, forward once; `with_layers` the outputs have the hidden states.

        Returns:
            By head: logits (passes, B, ...) and labels (B, ...), with the teacher's beside them; and the model's
            outputs.
        """
        labels = {name: inputs[name] for name in self._targets(inputs)}
        features = {}
        for name, value in inputs.items():
            if name not in labels:
                repeats = [passes] + [1] * (value.dim() - 1)
                features[name] = value.repeat(repeats)
        if with_layers:
            features["output_hidden_states"] = True
        # One forward for all passes: DistributedDataParallel expects one for each backward.
        outputs = model(**features)
        logits = {}
        for name in self.label_names:
            of_head = outputs[HEADS[name]]
            # More rows than passes x B are samples of a multi-sample dropout; R-Drop compares the first two.
            logits[name] = of_head.unflatten(0, (-1, len(labels[name])))
        return logits, labels, outputs

    def _targets(self, batch: Batch) -> list[str]:
        """Return the names of what is no input: the labels, in training also what a teacher answers and to whom."""
        of_teacher = [name for name in batch if name.startswith(TEACHER) or name == IS_LABELLED]
        return [*self.label_names, *of_teacher]

    def _weighed_by(self, batch: Batch) -> list[str]:
        """Return the names of what says how much of a step a batch is: its targets, and for layers its tokens."""
        tokens = [TOKENS] if self.layer_teacher is not None else []
        return [*self._targets(batch), *tokens]

    def _objective_for(self, batch: Batch) -> Objective:
        """Return the objective, or for rows without a teacher that of evaluations."""
        is_taught = len(self._targets(batch)) > len(self.label_names)
        if is_taught:
            return self.objective
        return self.objective.evaluation or self.objective

    def _set_signature_columns_if_needed(self) -> None:
        """Let the collator see the columns that find a teacher's values; Trainer drops what no model takes."""
        super()._set_signature_columns_if_needed()
        columns: Any = self._signature_columns
        if TEACHER_ROW not in columns:
            columns += [TEACHER_ROW, LABELLED, WORD_NUMBERS]

    def _forward_for_statistics(self, batch: Batch) -> tuple[ByHead, ByHead]:
        """Return logits and labels of a batch as training will see them."""
        self.model_wrapped.train()  # Trainer does so only in `training_step`
        inputs = self._prepare_inputs(batch)
        with self.compute_loss_context_manager():
            logits, labels, _ = self._logits(self.model_wrapped, inputs, self.objective.passes)
        return logits, labels

    def predict(self, *args, **kwargs) -> PredictionOutput:
        """`Trainer.predict` that returns the logits of all rows, not only what metrics need of them."""
        self.preprocess_logits_for_metrics = None
        self.compute_metrics = self.metrics.of_logits
        try:
            output = super().predict(*args, **kwargs)
        finally:
            self.preprocess_logits_for_metrics = self.metrics.reduce
            self.compute_metrics = self.metrics.of_reduced
        return PredictionOutput(
            pad(join(output.predictions)), pad(join(output.label_ids)), output.metrics
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each term's mean since the last log."""
        if "loss" in logs and self.term_means:
            means = self.term_means.take(self.devices.sum)
            for name, value in means.items():
                logs[name] = round(value, 6)
            if not all(map(math.isfinite, means.values())):
                self._stop_if_diverged(means)
        super().log(logs, start_time)

    def _stop_if_diverged(self, means: dict[str, float]) -> None:
        """Raise `RunError` if the weights are not finite.

        A loss alone may overflow in half precision: the step of that batch is skipped, and training goes on.
        """
        if all(parameter.isfinite().all() for parameter in self.model.parameters()):
            return
        losses = [f"{name} {value}" for name, value in means.items()]
        raise RunError(
            f"training diverged: after step {self.state.global_step} the weights are no longer finite numbers "
            f"({', '.join(losses)}); try a learning_rate below {self.args.learning_rate:g}, or a longer warm-up"
        )

    def create_optimizer(self, *model: nn.Module) -> torch.optim.Optimizer:
        """Return `Trainer`'s optimizer, over layer-wise or explicit groups if the flags ask for them.

        Args:
            model: transformers 5 passes the wrapped one where FSDP has split it.
        """
        # Trainer's own choice: no decay for norms and biases.
        decayed = self.get_decay_parameter_names(self.model)
        groups = groups_of_flags(self.model, self.args, decayed)
        if self.optimizer is None and groups:
            optimizer_class, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = optimizer_class(groups, **kwargs)
        return super().create_optimizer(*model)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """With `--ema_decay` the checkpoint's model is the average; save the weights to train on from beside it."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self.layer_teacher and self.args.should_save:
            self.layer_teacher.save(Path(output_dir))
        if self.average and self.args.should_save:
            self.average.save(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        # Before the average, which takes what is loaded here for an average, too.
        if self.layer_teacher and checkpoint:
            self.layer_teacher.load(Path(checkpoint))
        # Trainer has loaded the model by now, which holds the average.
        if self.average and checkpoint:
            self.average.load(self.model, Path(checkpoint))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save model (safetensors) and tokenizer; unlike `Trainer._save` no training_args.bin."""
        if not self.args.should_save:
            return  # transformers 5 calls it in every process
        # That file is a pickle, which can run any code when it is loaded.
        folder = Path(output_dir) if output_dir else self.output_dir
        self.accelerator.unwrap_model(self.model).save_pretrained(folder, state_dict=state_dict)
        save_tokenizer(self.processing_class, folder)
        share_weights(folder)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Upload a checkpoint for `push_to_hub`; `Trainer` would add training_args.bin, which holds the token."""
        push_checkpoint(self, Path(checkpoint_folder))

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        args = self.args
        if not args.group_by_length and self.resampler is None:
            return super()._get_train_sampler(train_dataset)
        seed = args.seed if args.data_seed is None else args.data_seed
        # The rows of a step have similar lengths, not those of a micro-batch: 8x1 and 2x4 must see the same steps.
        rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        if self.resampler is None:
            return LengthGroupedSampler(self.train_dataset["length"], rows_a_step, seed)
        lengths = self.train_dataset["length"] if args.group_by_length else None
        return BalancedSampler(self.resampler, seed, lengths, rows_a_step)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        """Keep the rows in their order, also with group_by_length: predictions must line up with the file."""
        if self.args.world_size > 1:
            return None  # accelerate shares out the rows in their order
        return SequentialSampler(eval_dataset)

    def get_train_dataloader(self) -> DataLoader:
        """Return `Trainer`'s, and remember it for `num_examples`."""
        self._train_dataloader = super().get_train_dataloader()
        return self._train_dataloader

    def num_examples(self, dataloader: DataLoader) -> int:
        """Return the rows of one pass; with a resampler they are those it draws. Speeds count them."""
        if self.resampler is not None and dataloader is self._train_dataloader:
            return len(self.resampler)
        return super().num_examples(dataloader)
