"""The flags of the optimisation methods: rates by depth, adversarial training, averages; a part of `TrainingArguments`.

Imports nothing of ours but the error type, as `arguments.py`, which it is a part of.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError, check_range


class AdversarialSettings(NamedTuple):
    """Radius of the ball, runs with perturbed parameters, and the epoch from which on they are made."""

    epsilon: float
    steps: int
    start_epoch: float


ADVERSARIAL_DEFAULTS = {
    "fgm": AdversarialSettings(1.0, 1, 0.0),
    "pgd": AdversarialSettings(1.0, 3, 0.0),
    "awp": AdversarialSettings(0.005, 1, 1.0),
}


class RateEntry(NamedTuple):
    """`layers.6-=3e-5`: a part of the model (`embeddings`, `layers`, `head`), layers `first` to `last`, its rate."""

    text: str
    part: str
    first: int
    last: float
    rate: float


@dataclass
class OptimisationArguments:
    """What this project adds to the optimisation of `transformers.TrainingArguments`."""

    _argument_group_name = "optimisation"

    layer_wise_lr_decay: float = option(
        1.0,
        "Each encoder layer learns at this times the rate of the one above it; 1: off.",
        above=0,
        maximum=1,
    )
    head_lr_factor: float = option(1.0, "The head learns at this times --learning_rate.", above=0)
    parameter_groups: list[str] | None = option(
        None,
        "Learning rates by part: embeddings=2e-5 layers.0-5=2e-5 layers.6-=3e-5 head=5e-5. If layers are named "
        "all must be; what is not named learns at --learning_rate.",
    )
    ema_decay: float = option(
        0.0,
        "Evaluate and save an exponential moving average of the weights, e.g. 0.999; 0: off.",
        minimum=0,
    )
    adversarial: str = option(
        "none",
        "Perturb the embeddings (fgm: one step, pgd: several) or all weight matrices (awp) along each "
        "micro-batch's gradient, and add the gradient found there to the clean one.",
        choices=("none", *ADVERSARIAL_DEFAULTS),
    )
    adversarial_epsilon: float | None = option(
        None,
        "Length of the perturbation; fgm and pgd: L2 norm on the embedding matrix (1.0); awp: relative to each "
        "matrix's norm (0.005).",
        minimum=0,
    )
    adversarial_steps: int | None = option(
        None,
        "Extra forward/backward runs a micro-batch; pgd: 3, awp: 1, fgm is always 1.",
        minimum=1,
    )
    adversarial_start_epoch: float | None = option(
        None,
        "No perturbation before this epoch (may be 0.5); fgm and pgd: 0, awp: 1, a trained head.",
        minimum=0,
    )

    def adversarial_settings(self) -> AdversarialSettings:
        """The adversarial flags, with the method's defaults for those not given."""
        given = (self.adversarial_epsilon, self.adversarial_steps, self.adversarial_start_epoch)
        defaults = ADVERSARIAL_DEFAULTS[self.adversarial]
        return AdversarialSettings(
            *(d if g is None else g for g, d in zip(given, defaults, strict=True))
        )


def check_optimisation(training: Any) -> None:
    """Numbers in their ranges, and no setting without an effect.

    Args:
        training: the `TrainingArguments`, of which `OptimisationArguments` are a part.

    Raises:
        UserError: naming both flags and both values.
    """
    if training.ema_decay >= 1:
        raise UserError(
            f"ema_decay {training.ema_decay} is out of range: at 1 the first weights would stay for ever"
        )
    if training.parameter_groups:
        for name in ("layer_wise_lr_decay", "head_lr_factor"):
            if getattr(training, name) != 1:
                raise UserError(
                    f"parameter_groups {' '.join(training.parameter_groups)} and {name} {getattr(training, name)} both "
                    "set learning rates; drop one"
                )
        parse_parameter_groups(training.parameter_groups)
    check_schedule(training)
    check_adversarial(training)
    for method in ("ema_decay", "adversarial"):
        value = getattr(training, method)
        for name in ("deepspeed", "fsdp") if value not in (0, "none") else ():
            if getattr(training, name):
                raise UserError(
                    f"{method} {value} changes whole parameters in place, which {name} {getattr(training, name)} splits"
                )


def check_schedule(training: Any) -> None:
    """A warm-up needs a schedule that has one."""
    schedule = getattr(training.lr_scheduler_type, "value", training.lr_scheduler_type)
    for name in ("warmup_ratio", "warmup_steps"):
        if schedule in ("constant", "reduce_lr_on_plateau") and getattr(training, name):
            raise UserError(
                f"{name} {getattr(training, name)} has no effect: lr_scheduler_type is {schedule}"
                + (
                    "; constant_with_warmup has a warm-up"
                    if schedule == "constant"
                    else ", which has no warm-up"
                )
            )


def parse_parameter_groups(texts: Sequence[str]) -> list[RateEntry]:
    """`["layers.0-5=2e-5", "layers.6-=3e-5", "head=5e-5"]` as entries, ordered by part and layer.

    Raises:
        UserError: for an entry of another form, and for entries that overlap or leave out a layer between them.
    """
    entries = sorted((parse_entry(text) for text in texts), key=lambda entry: entry[1:4])
    for one, other in zip(entries, entries[1:], strict=False):
        if one.part == other.part and other.first <= one.last:
            raise UserError(f"parameter_groups: {one.text} and {other.text} overlap")
    layers = [entry for entry in entries if entry.part == "layers"]
    if layers and layers[0].first > 0:
        raise UserError(
            f"parameter_groups: the lowest entry is {layers[0].text}, so layer 0 is in none"
        )
    for one, other in zip(layers, layers[1:], strict=False):
        if other.first > one.last + 1:
            raise UserError(
                f"parameter_groups: {one.text} and {other.text} leave out layer {one.last + 1}"
            )
    return entries


def parse_entry(text: str) -> RateEntry:
    """One entry: `embeddings=R`, `head=R`, `layers=R`, `layers.N=R`, `layers.N-M=R` or `layers.N-=R`."""
    match = re.fullmatch(r"(embeddings|head|layers)(?:\.(\d+)(?:(-)(\d+)?)?)?=(.+)", text)
    try:
        part, first, dash, last, rate = match.groups()
        first, rate, bounded = int(first or 0), float(rate), match[2] is not None
    except (AttributeError, ValueError):
        raise UserError(
            f"parameter_groups: {text!r} is none of embeddings=RATE, head=RATE, layers=RATE, layers.N=RATE, "
            "layers.N-M=RATE, layers.N-=RATE"
        ) from None
    end = float("inf") if (dash or not bounded) and last is None else int(last or first)
    if (bounded and part != "layers") or end < first:
        raise UserError(
            f"parameter_groups: {text!r} "
            + ("counts down" if end < first else f"numbers the {part}")
        )
    check_range(f"parameter_groups: {text}: the rate", rate, 0)
    return RateEntry(text, part, first, end, rate)


def check_adversarial(training: Any) -> None:
    """Adversarial settings must belong to a method that is on and at some time starts."""
    method = training.adversarial
    if method == "none":
        for name in ("adversarial_epsilon", "adversarial_steps", "adversarial_start_epoch"):
            if getattr(training, name) is not None:
                raise UserError(
                    f"{name} {getattr(training, name)} has no effect: adversarial is none"
                )
        return
    settings = training.adversarial_settings()
    if method == "fgm" and settings.steps != 1:
        raise UserError(
            f"adversarial fgm is a single step, but adversarial_steps is {settings.steps}: take pgd"
        )
    if training.max_steps <= 0 and settings.start_epoch >= training.num_train_epochs:
        raise UserError(
            f"adversarial {method} never starts: adversarial_start_epoch {settings.start_epoch} is not before the end "
            f"of num_train_epochs {training.num_train_epochs}"
        )
