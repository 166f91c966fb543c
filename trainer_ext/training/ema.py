"""Exponential moving average of the weights."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from trainer_ext.errors import UserError
from trainer_ext.files import share_weights

TRAINING_WEIGHTS = "training_weights.safetensors"


class EmaCallback(TrainerCallback):
    """Keeps an average a <- d a + (1 - d) w after each optimizer step, from the first weights on.

    After optimizer step t, d = min(decay, (1 + t) / (10 + t)): a warm-up, without which short trainings would keep much
    of their first weights (at 0.999 and 300 steps 74% of them).

    Between a step that is followed by an evaluation or a checkpoint and the next step, and after the training, the
    *model* holds the average. So what is evaluated is what `model.safetensors` of the checkpoint and of the best model
    hold; the weights to train on from are in the checkpoint as `training_weights.safetensors`.

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

    def on_train_begin(self, args, state, control, model: nn.Module = None, **kwargs):
        """Start at the current weights, unless a checkpoint was loaded."""
        if not self.other:
            self.other = {
                name: parameter.detach().clone() for name, parameter in trainable(model).items()
            }

    @torch.no_grad()
    def on_step_begin(self, args, state, control, model: nn.Module = None, **kwargs):
        """Train on from the training weights."""
        if self.model_holds_average:
            self.swap(model)

    @torch.no_grad()
    def on_step_end(self, args, state, control, model: nn.Module = None, **kwargs):
        """Update the average; hand it over for an evaluation or a checkpoint."""
        decay = decay_after(state.global_step, self.decay)
        for name, parameter in trainable(model).items():
            self.other[name].lerp_(parameter, 1 - decay)
        self.hand_over(control, model)

    def on_epoch_end(self, args, state, control, model: nn.Module = None, **kwargs):
        """Hand the average over for an evaluation or a checkpoint at the end of an epoch."""
        self.hand_over(control, model)

    def on_train_end(self, args, state, control, model: nn.Module = None, **kwargs):
        """Leave the average in the model, unless the Trainer has loaded the best one by now."""
        best_is_loaded = args.load_best_model_at_end and state.best_model_checkpoint
        if not best_is_loaded and not self.model_holds_average:
            self.swap(model)
        self.other, self.model_holds_average = {}, False

    def hand_over(self, control, model: nn.Module) -> None:
        """Let the model hold the average where it is about to be looked at."""
        if (control.should_evaluate or control.should_save) and not self.model_holds_average:
            self.swap(model)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights and the ones kept here, in place: the optimizer knows the model's tensors."""
        for name, parameter in trainable(model).items():
            held = parameter.detach().clone()
            parameter.copy_(self.other[name])
            self.other[name].copy_(held)
        self.model_holds_average = not self.model_holds_average

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the training weights into a checkpoint whose model.safetensors is the average."""
        assert self.model_holds_average, "a checkpoint is written after on_step_end"
        save_file(
            {name: tensor.contiguous() for name, tensor in self.other.items()},
            folder / TRAINING_WEIGHTS,
        )
        share_weights(folder)

    @torch.no_grad()
    def load(self, model: nn.Module, folder: Path) -> None:
        """Take up average (in `model`, as loaded from the checkpoint) and training weights.

        Raises:
            UserError: for a checkpoint of a run without an average.
        """
        path = folder / TRAINING_WEIGHTS
        if not path.is_file():
            raise UserError(
                f"ema_decay {self.decay} cannot resume from {folder}: it has no {TRAINING_WEIGHTS}"
            )
        weights = load_file(path, device=str(next(model.parameters()).device))
        if set(weights) != set(trainable(model)):
            raise UserError(f"{path} holds other parameters than this run trains")
        self.other, self.model_holds_average = weights, True
        self.swap(model)


def decay_after(step: int, decay: float) -> float:
    """How much of the average stays after optimizer step `step`, counted from 1 and over resumes."""
    return min(decay, (1 + step) / (10 + step))


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that change."""
    return {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
