"""Structured pruning: drop whole encoder layers, evenly over the depth."""

from torch import nn

from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layer_sizes import evenly, layers_of, set_layers


def keep_layers(model: EncoderWithHead, count: int) -> None:
    """Keep `count` layers of the encoder, evenly, and say so in its config.

    Raises:
        UserError: if the encoder has fewer layers, or other layers than are known here.
    """
    layers = layers_of(model.encoder)
    if not 1 <= count <= len(layers):
        raise UserError(f"keep_layers {count}: the encoder has {len(layers)} layers")
    chosen = evenly(len(layers), count)
    kept = nn.ModuleList(layers[number] for number in chosen)
    set_layers(model.encoder, kept)
    # The encoder may hold a config of its own.
    for config in (model.config.encoder, model.encoder.config):
        config.num_hidden_layers = count
    sizes = model.config.layer_sizes
    if sizes:
        model.config.layer_sizes = [sizes[number] for number in chosen]
