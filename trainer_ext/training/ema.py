"""Exponential moving average of the weights."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer_ext.errors import UserError
from trainer_ext.files import share_weights

TRAINING_WEIGHTS = "training_weights.safetensors"


class EmaCallback(TrainerCallback):
    """Keeps an average a <- d a + (1 - d) w after each optimizer step, from the first weights on.

    After optimizer step t, d = min(decay, (1 + t) / (10 + t)): a warm-up, without which short trainings would keep much
    of their first weights (at 0.999 and 300 steps 74% of them).

    The *model* holds the average from a step that is followed by an evaluation or a checkpoint until the next step, and
    after the training. So what is evaluated is what `model.safetensors` of the checkpoint and of the best model hold;
    the weights to train on from are in the checkpoint as `training_weights.safetensors`.

    Source: Polyak & Juditsky 1992; the exponential form as in Tarvainen & Valpola (arXiv:1703.01780), eq. 1; the
    warm-up is that of TensorFlow's ExponentialMovingAverage with `num_updates`.

    Args:
        decay: what d rises to; at least 0 and below 1.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.other: dict[str, Tensor] = {}
        """The average while the model holds the training weights, and the other way round."""
        self.model_holds_average = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Start at the current weights, unless a checkpoint was loaded."""
        # `load` has filled it if training resumes.
        if not self.other:
            for name, parameter in trainable(kwargs["model"]).items():
                self.other[name] = parameter.detach().clone()

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Put the training weights back."""
        if self.model_holds_average:
            self.swap(kwargs["model"])

    @torch.no_grad()
    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Update the average; give it to the model for an evaluation or a checkpoint."""
        decay = decay_after(state.global_step, self.decay)
        for name, parameter in trainable(kwargs["model"]).items():
            self.other[name].lerp_(parameter, 1 - decay)  # Eq. 1
        self.show_average(control, kwargs["model"])

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Give the average to the model for an evaluation or a checkpoint at the end of an epoch."""
        self.show_average(control, kwargs["model"])

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Leave the average in the model, unless the Trainer has already loaded the best one."""
        # Trainer loads the best model before this call; a swap would put other weights in its place.
        best_is_loaded = args.load_best_model_at_end and state.best_model_checkpoint
        if not best_is_loaded and not self.model_holds_average:
            self.swap(kwargs["model"])
        self.other = {}
        self.model_holds_average = False

    def show_average(self, control: TrainerControl, model: nn.Module) -> None:
        """Let the model hold the average if it is about to be evaluated or saved."""
        is_looked_at = control.should_evaluate or control.should_save
        if is_looked_at and not self.model_holds_average:
            self.swap(model)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights and the ones kept here."""
        for name, parameter in trainable(model).items():
            held = parameter.detach().clone()
            # In place: the optimizer refers to the model's own tensors.
            parameter.copy_(self.other[name])
            self.other[name].copy_(held)
        self.model_holds_average = not self.model_holds_average

    def save(self, folder: Path) -> None:
        """Write the training weights into a checkpoint whose model.safetensors is the average."""
        assert self.model_holds_average, "a checkpoint is written after on_step_end"
        # safetensors takes no other tensors.
        weights = {name: tensor.contiguous() for name, tensor in self.other.items()}
        save_file(weights, folder / TRAINING_WEIGHTS)
        share_weights(folder)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Resume from a checkpoint, whose average `model` holds.

        Raises:
            UserError: for a checkpoint of a run without an average, or with other trainable parameters.
        """
        path = folder / TRAINING_WEIGHTS
        if not path.is_file():
            raise UserError(
                f"ema_decay {self.decay} cannot resume from {folder}: it has no {TRAINING_WEIGHTS}"
            )
        weights = load_file(path, device=str(next(model.parameters()).device))
        if set(weights) != set(trainable(model)):
            raise UserError(f"{path} holds other parameters than this run trains")
        self.other = weights
        self.model_holds_average = True
        self.swap(model)


def decay_after(step: int, decay: float) -> float:
    """Return how much of the average stays after optimizer step `step`, counted from 1 and over resumes."""
    return min(decay, (1 + step) / (10 + step))


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training changes, by name."""
    return {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
