"""Which part of a model a parameter belongs to; layers made fresh or frozen."""

import re

from torch import nn

from trainer_ext.arguments.model import ModelArguments
from trainer_ext.errors import UserError

# Transformers' names of a layer's modules, and those of a torch RNN's parameters (`weight_ih_l0_reverse`).
LAYER_NUMBER = re.compile(
    r"(?:^|\.)(?:layers?|h|albert_layer_groups)\.(\d+)\.|_(?:ih|hh|hr)_l(\d+)(?:_reverse)?$"
)


def layer_of(name: str) -> int | None:
    """The number of the encoder layer a parameter belongs to, or None."""
    match = LAYER_NUMBER.search(name)
    return int(match[1] or match[2]) if match else None


def part_of(name: str) -> tuple[str, int]:
    """`("layers", 3)`, or ("embeddings" | "head" | "other", 0): a final norm is none of the three."""
    if not name.startswith("encoder."):
        return "head", 0
    layer = layer_of(name)
    if layer is not None:
        return "layers", layer
    return ("embeddings" if "embed" in name else "other"), 0


def number_of_layers(model: nn.Module) -> int:
    """Encoder layers with parameters of their own (ALBERT: 1)."""
    layers = [
        layer
        for name, _ in model.encoder.named_parameters()
        if (layer := layer_of(name)) is not None
    ]
    return max(layers, default=-1) + 1


def prepare_layers(model: nn.Module, args: ModelArguments) -> None:
    """Re-initialise the top `reinit_layers` layers, freeze the embeddings and the lowest `freeze_layers` layers.

    Re-initialising: Zhang et al., Revisiting Few-sample BERT Fine-tuning (arXiv:2006.05987).

    Raises:
        UserError: when there are fewer layers, or a layer would be frozen right after it was made fresh.
    """
    depth = number_of_layers(model)
    if args.reinit_layers + args.freeze_layers > depth:
        raise UserError(
            f"reinit_layers {args.reinit_layers} and freeze_layers {args.freeze_layers} are more than the {depth} "
            "layers of the encoder"
        )
    for name, module in model.encoder.named_modules():
        layer = layer_of(f"{name}.")
        if layer is not None and layer >= depth - args.reinit_layers:
            model.encoder._init_weights(module)
    for name, parameter in model.named_parameters():
        part, layer = part_of(name)
        frozen = (
            args.freeze_embeddings
            if part == "embeddings"
            else part == "layers" and layer < args.freeze_layers
        )
        if frozen:
            parameter.requires_grad_(False)
