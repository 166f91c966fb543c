"""Learning rates by depth, weight decay by kind: each trainable parameter in exactly one group."""

import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from torch import nn

LAYER_NUMBER = re.compile(r"(?:^|\.)(?:layers?|h|albert_layer_groups)\.(\d+)\.")


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float,
    head_factor: float,
    decayed: Collection[str],
) -> list[dict[str, Any]]:
    """Groups for an optimizer, one for each (learning rate, weight decay) that occurs, highest rate first.

    The top encoder layer learns at `learning_rate`, each layer below at `layer_decay` times the rate of the one above,
    embeddings at one factor less than the lowest layer, and the head at `head_factor` times `learning_rate`.
    Source: Howard & Ruder, Universal Language Model Fine-tuning (arXiv:1801.06146), section 3.2, with a free factor.

    Args:
        model: has the encoder as `model.encoder`.
        decayed: names of the parameters that weight decay applies to.
    """
    layers = [layer for name, _ in model.encoder.named_parameters() if (layer := layer_of(name)) is not None]
    depth = max(layers, default=-1) + 1
    groups = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = learning_rate * rate_factor(name, depth, layer_decay, head_factor)
            groups[rate, weight_decay if name in decayed else 0.0].append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0], reverse=True)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in ordered]


def rate_factor(name: str, depth: int, layer_decay: float, head_factor: float) -> float:
    """The multiple of the learning rate for a parameter of a model with `depth` encoder layers."""
    if not name.startswith("encoder."):
        return head_factor
    layer = layer_of(name)
    if layer is not None:
        return layer_decay ** (depth - 1 - layer)
    # Outside the layers: embeddings (of positions too) lie below them, a final norm above them.
    return layer_decay**depth if "embed" in name else 1.0


def layer_of(name: str) -> int | None:
    """The number of the encoder layer a parameter belongs to, or None."""
    match = LAYER_NUMBER.search(name)
    return int(match.group(1)) if match else None
