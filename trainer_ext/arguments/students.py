"""Flags that the students of `--from_scratch` have no layers for."""

from typing import Any

from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.optimisation import parse_parameter_groups
from trainer_ext.errors import UserError

# How many layers with a number each has: one LSTM; vectors alone.
LAYERS = {"bilstm": 1, "static": 0}
LAYER_POOLINGS = ("weighted_layers", "concat_last4")


def check_student(model: ModelArguments, training: Any) -> None:
    """Refuse flags about layers that a student does not have.

    Args:
        model: names the student, if it is one.
        training: the `TrainingArguments`.

    Raises:
        UserError: naming both flags and both values.
    """
    if model.from_scratch not in LAYERS:
        return
    layers = LAYERS[model.from_scratch]
    student = f"from_scratch {model.from_scratch}"
    if model.pooling in LAYER_POOLINGS:
        raise UserError(f"pooling {model.pooling} is for transformers, but {student} is none")
    if training.gradient_checkpointing:
        raise UserError(f"gradient_checkpointing is for transformers, but {student} is none")
    if model.freeze_layers > layers:
        raise UserError(f"freeze_layers {model.freeze_layers}: {student} has {layers} layers")
    if training.layer_wise_lr_decay != 1 and not layers:
        raise UserError(
            f"layer_wise_lr_decay {training.layer_wise_lr_decay} has no effect: {student} has no layers"
        )
    for entry in parse_parameter_groups(training.parameter_groups or ()):
        if entry.part == "layers" and entry.first >= layers:
            raise UserError(
                f"parameter_groups {entry.text} has no effect: {student} has {layers} layers"
            )
