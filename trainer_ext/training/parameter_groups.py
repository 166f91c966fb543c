"""Learning rates by depth, weight decay by kind: each trainable parameter in exactly one group."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import TypedDict

from torch import nn

from trainer_ext.arguments.optimisation import parse_parameter_groups
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layers import number_of_layers, part_of


class ParameterGroup(TypedDict):
    """What an optimizer of torch takes as a group."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


def groups_of_flags(
    model: EncoderWithHead,
    args: TrainingArguments,
    decayed: Collection[str],
) -> list[ParameterGroup] | None:
    """Return the groups that the flags ask for; None if Trainer's own groups will do."""
    if args.parameter_groups:
        return explicit_groups(
            model, args.parameter_groups, args.learning_rate, args.weight_decay, decayed
        )
    if args.layer_wise_lr_decay == 1 and args.head_lr_factor == 1:
        return None
    return parameter_groups(
        model,
        args.learning_rate,
        args.weight_decay,
        args.layer_wise_lr_decay,
        args.head_lr_factor,
        decayed,
    )


def parameter_groups(
    model: EncoderWithHead,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float,
    head_factor: float,
    decayed: Collection[str],
) -> list[ParameterGroup]:
    """Return groups for an optimizer, one for each (learning rate, weight decay) that occurs, highest rate first.

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

    def rate(name: str) -> float:
        return learning_rate * rate_factor(name, depth, layer_decay, head_factor)

    return grouped(model, rate, weight_decay, decayed)


def explicit_groups(
    model: EncoderWithHead,
    entries: Sequence[str],
    learning_rate: float,
    weight_decay: float,
    decayed: Collection[str],
) -> list[ParameterGroup]:
    """Return groups for an optimizer from `--parameter_groups`; parts without an entry learn at `learning_rate`.

    Raises:
        UserError: when an entry has no effect (the model has no such layer, or it is frozen), or when entries name some
            layers but not all.
    """
    parsed = parse_parameter_groups(entries)
    named_layers = [entry.text for entry in parsed if entry.part == "layers"]
    used = set()

    def rate(name: str) -> float:
        part, layer = part_of(name)
        for entry in parsed:
            if entry.part == part and entry.first <= layer <= entry.last:
                used.add(entry)
                return entry.rate
        # With rates for some layers only, the rate of the others would be a guess.
        if part == "layers" and named_layers:
            raise UserError(
                f"parameter_groups {' '.join(named_layers)} leave out layer {layer} of {number_of_layers(model)}"
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
    model: nn.Module,
    rate_of: Callable[[str], float],
    weight_decay: float,
    decayed: Collection[str],
) -> list[ParameterGroup]:
    """Return one group for each (rate, weight decay) of the trainable parameters, highest rate first."""
    members = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if name in decayed else 0.0
            members[rate_of(name), decay].append(parameter)
    groups: list[ParameterGroup] = []
    # In an order that a resumed run repeats: a checkpoint has the optimizer's state by position.
    for rate, decay in sorted(members, reverse=True):
        groups.append({"params": members[rate, decay], "lr": rate, "weight_decay": decay})
    return groups


def rate_factor(name: str, depth: int, layer_decay: float, head_factor: float) -> float:
    """Return the multiple of the learning rate for a parameter of a model with `depth` encoder layers."""
    part, layer = part_of(name)
    if part == "head":
        return head_factor
    # Embeddings (of positions too) lie below the layers, a final norm above them.
    powers = {"layers": depth - 1 - layer, "embeddings": depth, "other": 0}
    return layer_decay ** powers[part]
