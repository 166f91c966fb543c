"""Which part of a model a parameter belongs to; layers re-initialised or frozen."""

import re

from trainer_ext.arguments.model import ModelArguments
from trainer_ext.compatibility import forget_loading
from trainer_ext.errors import UserError
from trainer_ext.modeling.bilstm import BiLstmConfig
from trainer_ext.modeling.model import EncoderWithHead

# Transformers' names of a layer's modules, and those of a torch RNN's parameters (`weight_ih_l0_reverse`).
LAYER_NUMBER = re.compile(
    r"(?:^|\.)(?:layers?|h|albert_layer_groups)\.(\d+)\.|_(?:ih|hh|hr)_l(\d+)(?:_reverse)?$"
)


def layer_of(name: str) -> int | None:
    """Return the number of the encoder layer a parameter belongs to, or None."""
    match = LAYER_NUMBER.search(name)
    return int(match[1] or match[2]) if match else None


def part_of(name: str) -> tuple[str, int]:
    """Return the part of the model a parameter belongs to, and its layer: `("layers", 3)`, `("head", 0)`.

    The other parts are `embeddings` and `other` (a final norm).
    """
    if not name.startswith("encoder."):
        return "head", 0
    layer = layer_of(name)
    if layer is not None:
        return "layers", layer
    if "embed" in name:
        return "embeddings", 0
    return "other", 0


def number_of_layers(model: EncoderWithHead) -> int:
    """Return how many layers of the encoder have parameters of their own (ALBERT, which shares them: 1)."""
    depth = 0
    for name, _ in model.encoder.named_parameters():
        layer = layer_of(name)
        if layer is not None:
            depth = max(depth, layer + 1)
    return depth


def prepare_layers(model: EncoderWithHead, args: ModelArguments) -> None:
    """Re-initialise the top `reinit_layers` layers, freeze the embeddings and the lowest `freeze_layers` layers.

    Source of re-initialising: Zhang et al., Revisiting Few-sample BERT Fine-tuning (arXiv:2006.05987).

    Raises:
        UserError: if there are fewer layers, or a layer would be frozen right after it was re-initialised.
    """
    depth = number_of_layers(model)
    if args.reinit_layers + args.freeze_layers > depth:
        raise UserError(
            f"reinit_layers {args.reinit_layers} and freeze_layers {args.freeze_layers} are more than "
            f"the {depth} layers of the encoder"
        )
    if args.reinit_layers and isinstance(model.config.encoder, BiLstmConfig):
        raise UserError(
            f"reinit_layers {args.reinit_layers} has no effect on a bilstm: train it --from_scratch bilstm"
        )
    for name, module in model.encoder.named_modules():
        layer = layer_of(f"{name}.")  # as a parameter of the module would be called
        if layer is not None and layer >= depth - args.reinit_layers:
            forget_loading(module)
            model.encoder._init_weights(module)
    for name, parameter in model.named_parameters():
        if is_frozen(name, args):
            parameter.requires_grad_(False)


def is_frozen(name: str, args: ModelArguments) -> bool:
    """Tell whether a parameter is not to be trained."""
    part, layer = part_of(name)
    if part == "embeddings":
        return args.freeze_embeddings
    return part == "layers" and layer < args.freeze_layers


def check_recomputing(model: EncoderWithHead) -> None:
    """Raise `UserError` for an encoder whose layers cannot be computed a second time (`--gradient_checkpointing`)."""
    if not model.encoder.supports_gradient_checkpointing:
        raise UserError(
            "gradient_checkpointing true has no effect: encoders of the type "
            f"{model.config.encoder.model_type} do not support it"
        )
