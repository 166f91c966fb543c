"""Learning rates by depth, weight decay by kind: each trainable parameter in exactly one group."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import nn

from trainer_ext.arguments.optimisation import parse_parameter_groups
from trainer_ext.errors import UserError
from trainer_ext.modeling.layers import number_of_layers, part_of


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

    Raises:
        UserError: for a decay over an encoder whose layers are not found.
    """
    depth = number_of_layers(model)
    if layer_decay != 1 and not depth:
        raise UserError(
            f"layer_wise_lr_decay {layer_decay} has no effect: no numbered layers are found in this encoder "
            f"({model.config.encoder.model_type})"
        )
    return grouped(
        model,
        lambda name: learning_rate * rate_factor(name, depth, layer_decay, head_factor),
        weight_decay,
        decayed,
    )


def explicit_groups(
    model: nn.Module,
    entries: Sequence[str],
    learning_rate: float,
    weight_decay: float,
    decayed: Collection[str],
) -> list[dict[str, Any]]:
    """Groups for an optimizer from `--parameter_groups`; parts that no entry names learn at `learning_rate`.

    Raises:
        UserError: when an entry has no effect (the model has no such layer, or it is frozen), or when entries name some
            layers but not all.
    """
    parsed = parse_parameter_groups(entries)
    used = set()

    def rate(name: str) -> float:
        part, layer = part_of(name)
        for entry in parsed:
            if entry.part == part and entry.first <= layer <= entry.last:
                used.add(entry)
                return entry.rate
        if part == "layers" and any(entry.part == part for entry in parsed):
            named = [entry.text for entry in parsed if entry.part == part]
            raise UserError(
                f"parameter_groups {' '.join(named)} leave out layer {layer} of {number_of_layers(model)}"
            )
        return learning_rate

    groups = grouped(model, rate, weight_decay, decayed)
    for entry in parsed:
        if entry not in used:
            raise UserError(
                f"parameter_groups: {entry.text} has no effect: the model has no trainable parameters there, and "
                f"{number_of_layers(model)} layers"
            )
    return groups


def grouped(
    model: nn.Module, rate_of: Callable[[str], float], weight_decay: float, decayed: Collection[str]
) -> list[dict[str, Any]]:
    """One group for each (rate, weight decay) of the trainable parameters, highest rate first."""
    groups = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[rate_of(name), weight_decay if name in decayed else 0.0].append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0], reverse=True)
    return [
        {"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in ordered
    ]


def rate_factor(name: str, depth: int, layer_decay: float, head_factor: float) -> float:
    """The multiple of the learning rate for a parameter of a model with `depth` encoder layers."""
    part, layer = part_of(name)
    # Embeddings (of positions too) lie below the layers, a final norm above them.
    powers = {"layers": depth - 1 - layer, "embeddings": depth, "other": 0}
    return head_factor if part == "head" else layer_decay ** powers[part]
