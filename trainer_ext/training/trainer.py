"""`CustomTrainer`: the Hugging Face Trainer with an objective of named terms."""

import math
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import EvalPrediction
from transformers.trainer_utils import PredictionOutput

from trainer_ext.data.sampling.resample import Resampler
from trainer_ext.data.sampling.sampler import BalancedSampler, LengthGroupedSampler
from trainer_ext.errors import RunError
from trainer_ext.files import share_weights
from trainer_ext.objectives.base import HEADS, Objective
from trainer_ext.tasks import Task
from trainer_ext.tasks.base import NOT_FINITE
from trainer_ext.training.adversarial import Adversary, adversarial_backward, build_adversary
from trainer_ext.training.ema import EmaCallback
from trainer_ext.training.nested import Nested, as_tuple, join, padded, to_arrays, to_tensors
from trainer_ext.training.parameter_groups import explicit_groups, parameter_groups
from trainer_ext.training.resumable_trainer import ResumableTrainer


class CustomTrainer(ResumableTrainer):
    """Everything `Trainer` does, with these differences.

    - The loss is the `objective`: the batch is repeated for as many stochastic passes as its terms need, in one
      forward (so one backward, and DistributedDataParallel is none the wiser).
    - Under gradient accumulation and on several devices each term is normalised by its items in the *whole* optimizer
      step, so 8x1, 4x2 and 2x4 take the same step even where batches hold different numbers of items.
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

    def __init__(
        self, *args, objective: Objective, task: Task, resampler: Resampler | None = None, **kwargs
    ):
        functions = {
            "compute_metrics": self._compute_metrics,
            "preprocess_logits_for_metrics": self._reduce,
        }
        super().__init__(*args, **functions, **kwargs)
        self.args.eval_do_concat_batches = (
            False  # joining with each batch would copy all rows with each batch
        )
        self.objective = objective
        self.task = task
        self.resampler = resampler
        self._train_dataloader = None
        self.adversary = build_adversary(self.args)
        self.average = EmaCallback(self.args.ema_decay) if self.args.ema_decay else None
        if self.average:
            self.add_callback(self.average)
        # Else Trainer, which sees **kwargs in some forwards, leaves the division by the accumulation steps to them.
        self.model_accepts_loss_kwargs = False
        self._logged: dict[str, list] = defaultdict(lambda: [0.0, 0.0])
        self._clean_statistics: dict[str, Tensor] = {}
        self._without_statistics: list[dict] = []
        self._all_finite: Tensor | None = None

    def _reduce(self, logits: Nested, labels: Nested) -> Nested:
        """What metrics need of a batch; all logits of a large validation set would fill the memory."""
        finite = torch.stack([part.isfinite().all() for part in as_tuple(logits)]).all()
        self._all_finite = finite if self._all_finite is None else self._all_finite & finite
        return to_tensors(self.task.reduce(to_arrays(logits), to_arrays(labels)), self.args.device)

    def _compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """From the list of batches that the evaluation has kept, of all processes."""
        kept, labels = join(prediction.predictions), join(prediction.label_ids)
        if self.preprocess_logits_for_metrics is None:
            self.task.check_finite(kept)
            return self.task.compute_metrics(kept, labels)
        finite, self._all_finite = self._all_finite, None
        if self.args.world_size > 1:
            finite = self.accelerator.reduce(finite.long(), reduction="sum") == self.args.world_size
        if not finite:
            raise RunError(NOT_FINITE)
        return self.task.metrics_of(kept, labels)

    def predict(self, *args, **kwargs) -> PredictionOutput:
        """`Trainer.predict`: the logits of all rows, not only what metrics need of them."""
        self.preprocess_logits_for_metrics = None
        try:
            output = super().predict(*args, **kwargs)
        finally:
            self.preprocess_logits_for_metrics = self._reduce
        return output._replace(
            predictions=padded(join(output.predictions)), label_ids=padded(join(output.label_ids))
        )

    def _get_num_items_in_batch(
        self, batch_samples: list[dict], device: torch.device
    ) -> dict[str, Tensor]:
        """Per term, the weight of all batches of this optimizer step, on all devices."""
        totals: dict[str, Tensor] = {}
        for batch in batch_samples:
            labels = {name: batch[name].to(device) for name in self.label_names}
            for name, weight in self.objective.total_weights(labels).items():
                totals[name] = totals.get(name, 0) + weight
        if self.objective.needs_statistics and (len(batch_samples) > 1 or self.args.world_size > 1):
            self._without_statistics = batch_samples
        if self.args.world_size > 1:
            totals = {
                name: self.accelerator.reduce(total.to(device)) for name, total in totals.items()
            }
        return totals

    @torch.no_grad()
    def _step_statistics(self, batches: list[dict]) -> dict[str, Tensor]:
        """What `StepTerm`s need of the step as a whole: a forward pass over it, with the dropout that is to come."""
        totals: dict[str, Tensor] = {}
        self.model_wrapped.train()
        with torch.random.fork_rng(), self.compute_loss_context_manager():
            for batch in batches:
                logits, labels, _ = self._logits(
                    self.model_wrapped, self._prepare_inputs(batch), self.objective.passes
                )
                for name, value in self.objective.statistics(logits, labels).items():
                    totals[name] = totals.get(name, 0) + value
        if self.args.world_size > 1:
            totals = {name: self.accelerator.reduce(total) for name, total in totals.items()}
        return totals

    @torch.no_grad()
    def _with_own_statistics(
        self, step: dict[str, Tensor], logits, labels, clean: bool
    ) -> dict[str, Tensor]:
        """The step's statistics as they are while *this* batch is perturbed and the others of the step are not."""
        own = self.objective.statistics(logits, labels)
        if clean:  # the step's statistics were made with these logits
            self._clean_statistics = own
            return step
        return step | {
            name: step[name] - self._clean_statistics[name] + own[name]
            for name in own
            if name in step
        }

    def _logits(
        self, model, inputs: dict[str, Any], passes: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
        """By head: logits (passes, B, ...) from one forward over the repeated batch, and labels; and the outputs."""
        labels = {name: inputs[name] for name in self.label_names}
        features = {name: value for name, value in inputs.items() if name not in labels}
        if passes > 1:
            features = {
                name: value.repeat(passes, *[1] * (value.dim() - 1))
                for name, value in features.items()
            }
        outputs = model(**features)
        # More rows than passes x batch are samples of a multi-sample dropout; the first two compare as R-Drop's pair.
        logits = {
            name: outputs[HEADS[name]].unflatten(0, (-1, len(labels[name]))) for name in labels
        }
        return logits, labels, outputs

    def compute_loss(
        self, model, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch=None
    ):
        """The objective on this batch's share of the optimizer step; a plain mean in evaluation."""
        logits, labels, outputs = self._logits(
            model, inputs, self.objective.passes if model.training else 1
        )
        if not model.training and self.args.world_size > 1:
            own = self._own_rows(len(next(iter(labels.values()))))
            logits = {name: value[:, :own] for name, value in logits.items()}
            labels = {name: value[:own] for name, value in labels.items()}
        step = num_items_in_batch if model.training else None
        clean = self.adversary is None or not self.adversary.active
        if step is not None and self.adversary and self.objective.needs_statistics:
            step = self._with_own_statistics(step, logits, labels, clean)
        loss, values = self.objective(logits, labels, step)
        if model.training:
            for name, (total, weight) in values.items() if clean else ():
                self._logged[name][0] += total
                self._logged[name][1] += weight
            # Trainer divides by the accumulation steps, DistributedDataParallel by the devices: the weights did both.
            loss = loss * (self.current_gradient_accumulation_steps * self.args.world_size)
        return (loss, outputs) if return_outputs else loss

    def _own_rows(self, count: int) -> int:
        """How many rows of an evaluation batch count: several processes fill their last ones with the first rows."""
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:
            return count
        rows = state.remainder - self.args.process_index * count
        return max(1, min(rows, count))  # of a batch without any the Trainer drops the loss

    def training_step(self, model, inputs: dict[str, Any], num_items_in_batch=None) -> Tensor:
        """Forward and backward of one micro-batch, and its adversarial runs from `adversarial_start_epoch` on."""
        if self._without_statistics:
            # Not when the batches are drawn: a resumed run has its random state, and with --ema_decay the model its
            # training weights, only when the first of them is trained on.
            batches, self._without_statistics = self._without_statistics, []
            num_items_in_batch.update(self._step_statistics(batches))
        backward = partial(super().training_step, model, inputs, num_items_in_batch)
        if (
            self.adversary is None
            or (self.state.epoch or 0) < self.args.adversarial_settings().start_epoch
        ):
            return backward()
        if (
            self.objective.needs_statistics
        ):  # the next batch must draw the dropout that its statistics were made with
            backward = partial(aside_from_random_state, backward, self.adversary)
        plain, unsynchronised = (
            self.accelerator.unwrap_model(model),
            partial(self.accelerator.no_sync, model),
        )
        loss, adversarial = adversarial_backward(self.adversary, plain, backward, unsynchronised)
        # Of a step's loss each micro-batch returns its share: the shares of a step weigh 1 together.
        self._logged["adversarial"][0] += adversarial
        self._logged["adversarial"][1] += 1 / self.current_gradient_accumulation_steps
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each term's mean since the last log."""
        if "loss" in logs and self._logged:
            sums = torch.tensor(
                [list(map(float, pair)) for pair in self._logged.values()], device=self.args.device
            )
            if self.args.world_size > 1:
                sums = self.accelerator.reduce(sums)
            terms = {
                name: total / max(weight, 1e-8)
                for name, (total, weight) in zip(self._logged, sums.tolist(), strict=True)
            }
            self._logged.clear()
            if not all(map(math.isfinite, terms.values())):
                self._stop_when_diverged(terms)
            logs |= {f"loss_{name}": round(value, 6) for name, value in terms.items()}
        super().log(logs, start_time)

    def _stop_when_diverged(self, terms: dict[str, float]) -> None:
        """One batch may overflow in half precision, and its step is skipped; weights that did so stay that way."""
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise RunError(
                f"training diverged: after step {self.state.global_step} the weights are no longer finite numbers ("
                + ", ".join(f"loss_{name} {value}" for name, value in terms.items())
                + f"); try a learning_rate below {self.args.learning_rate:g}, or a longer warm-up"
            )

    def create_optimizer(self):
        """`Trainer`'s optimizer, over layer-wise or explicit groups when they are asked for."""
        args, groups = self.args, None
        decayed = self.get_decay_parameter_names(self.model)
        if args.parameter_groups:
            groups = explicit_groups(
                self.model, args.parameter_groups, args.learning_rate, args.weight_decay, decayed
            )
        elif args.layer_wise_lr_decay != 1 or args.head_lr_factor != 1:
            factors = (args.layer_wise_lr_decay, args.head_lr_factor)
            groups = parameter_groups(
                self.model, args.learning_rate, args.weight_decay, *factors, decayed
            )
        if self.optimizer is None and groups:
            optimizer_class, kwargs = self.get_optimizer_cls_and_kwargs(args, self.model)
            self.optimizer = optimizer_class(groups, **kwargs)
        return super().create_optimizer()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """With `--ema_decay` the checkpoint's model is the average; the weights to train on from are beside it."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self.average and self.args.should_save:
            self.average.save(self.model, Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.average and checkpoint:
            self.average.load(self.model, Path(checkpoint))

    def _get_train_sampler(self, train_dataset=None) -> Sampler | None:
        grouped = self.args.group_by_length
        if not grouped and self.resampler is None:
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        rows = (
            self.args.train_batch_size
            * self.args.gradient_accumulation_steps
            * self.args.world_size
        )
        if self.resampler is None:
            return LengthGroupedSampler(self.train_dataset["length"], rows, seed)
        return BalancedSampler(
            self.resampler, seed, self.train_dataset["length"] if grouped else None, rows
        )

    def get_train_dataloader(self):
        """`Trainer`'s, remembered for `num_examples`."""
        self._train_dataloader = super().get_train_dataloader()
        return self._train_dataloader

    def num_examples(self, dataloader) -> int:
        """Rows of one pass, which are not those of the data set where a resampler draws them; speeds count them."""
        balanced = self.resampler is not None and dataloader is self._train_dataloader
        return len(self.resampler) if balanced else super().num_examples(dataloader)

    def _get_eval_sampler(self, eval_dataset) -> Sampler | None:
        """Rows in their order, also with group_by_length: predictions must line up with the file."""
        return (
            torch.utils.data.SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None
        )

    def _save(self, output_dir: str | None = None, state_dict=None) -> None:
        """Model (safetensors) and tokenizer; unlike `Trainer._save` no pickled training_args.bin."""
        folder = Path(output_dir or self.args.output_dir)
        self.accelerator.unwrap_model(self.model).save_pretrained(folder, state_dict=state_dict)
        self.processing_class.save_pretrained(folder)
        share_weights(folder)


def aside_from_random_state(backward: Callable[[], Tensor], adversary: Adversary) -> Tensor:
    """Run `backward`; a perturbed run draws random numbers as any other, but leaves the random state as it was."""
    with torch.random.fork_rng() if adversary.active else nullcontext():
        return backward()
