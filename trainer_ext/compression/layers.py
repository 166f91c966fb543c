"""Structured pruning: drop whole encoder layers, evenly over the depth."""

from torch import nn

from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layer_sizes import layers_of, set_layers


def evenly(depth: int, count: int) -> list[int]:
    """Return the numbers of `count` layers of `depth`, the last one among them: of 12 and 4 these are 2, 5, 8, 11.

    DistilBERT (Sanh et al., arXiv:1910.01108, section 3) and TinyBERT's uniform layer map choose so.
    """
    return [(number + 1) * depth // count - 1 for number in range(count)]


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
