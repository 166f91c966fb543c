"""The flags of the optimisation methods: rates by depth, adversarial training, averages.

A part of `TrainingArguments` that needs nothing of transformers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError, check_range


class AdversarialSettings(NamedTuple):
    """The radius of the ball, the runs with perturbed parameters, and the epoch from which on they are made."""

    epsilon: float
    steps: int
    start_epoch: float


ADVERSARIAL_DEFAULTS = {
    "fgm": AdversarialSettings(1.0, 1, 0.0),
    "pgd": AdversarialSettings(1.0, 3, 0.0),
    # The weights of a fresh head are noise: perturbing along their gradient would only hold it back.
    "awp": AdversarialSettings(0.005, 1, 1.0),
}


SCHEDULES_WITHOUT_WARMUP = {
    "constant": "; constant_with_warmup has a warm-up",
    "reduce_lr_on_plateau": ", which has no warm-up",
}
ENTRY = re.compile(
    r"(?P<part>embeddings|head|layers)(\.(?P<first>\d+)((?P<dash>-)(?P<last>\d+)?)?)?=(?P<rate>.+)"
)


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
        "Learning rates by part: embeddings=2e-5 layers.0-5=2e-5 layers.6-=3e-5 head=5e-5; what is not named learns at "
        "--learning_rate.",
    )
    ema_decay: float = option(
        0.0,
        "Evaluate and save an exponential moving average of the weights, e.g. 0.999; 0: off.",
        minimum=0,
    )
    adversarial: str = option(
        "none",
        "Perturb the embeddings (fgm: one step, pgd: several) or all weight matrices (awp) along the gradient, and "
        "add the gradient found there.",
        choices=("none", *ADVERSARIAL_DEFAULTS),
    )
    # None and not the numbers: which ones are the defaults depends on the method.
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
        """Return the adversarial flags, with the method's defaults for those not given."""
        settings = ADVERSARIAL_DEFAULTS[self.adversarial]
        if self.adversarial_epsilon is not None:
            settings = settings._replace(epsilon=self.adversarial_epsilon)
        if self.adversarial_steps is not None:
            settings = settings._replace(steps=self.adversarial_steps)
        if self.adversarial_start_epoch is not None:
            settings = settings._replace(start_epoch=self.adversarial_start_epoch)
        return settings


def check_optimisation(training: Any) -> None:
    """Refuse settings that contradict each other or have no effect.

    Args:
        training: the `TrainingArguments`, of which `OptimisationArguments` are a part.

    Raises:
        UserError: naming both flags and both values.
    """
    if training.ema_decay >= 1:
        raise UserError(
            f"ema_decay {training.ema_decay} is out of range: at 1 the first weights would stay for ever"
        )
    check_rates(training)
    check_schedule(training)
    check_adversarial(training)
    check_whole_parameters(training)
    check_sharding(training)


def check_rates(training: Any) -> None:
    """Refuse two sources of learning rates by part, and parts that overlap or leave out a layer."""
    groups = training.parameter_groups
    if not groups:
        return
    for name in ("layer_wise_lr_decay", "head_lr_factor"):
        value = getattr(training, name)
        # 1 is off, so also a recipe's flag that the command line has taken back.
        if value != 1:
            raise UserError(
                f"parameter_groups {' '.join(groups)} and {name} {value} both set learning rates; drop one"
            )
    parse_parameter_groups(groups)


def check_whole_parameters(training: Any) -> None:
    """Refuse methods that change parameters in place if each process has only a part of them."""
    methods = {"ema_decay": training.ema_decay, "adversarial": training.adversarial}
    for method, value in methods.items():
        if value in (0, "none"):
            continue
        # With these each process has a part of every parameter only.
        for name in ("deepspeed", "fsdp"):
            splits = getattr(training, name)
            if splits:
                raise UserError(
                    f"{method} {value} changes whole parameters in place, which {name} {splits} splits"
                )


def check_sharding(training: Any) -> None:
    """Refuse FSDP without accelerators: accelerate ends with an error about devices, or trains unsharded (DDP)."""
    if training.fsdp and training.device.type in ("cpu", "mps"):
        raise UserError(
            f"fsdp needs a GPU for each process, and this trains on {training.device.type}: drop fsdp"
        )


def check_schedule(training: Any) -> None:
    """Refuse a warm-up for a schedule that has none."""
    schedule = getattr(training.lr_scheduler_type, "value", training.lr_scheduler_type)
    hint = SCHEDULES_WITHOUT_WARMUP.get(schedule)
    if hint is None:
        return
    for name in ("warmup_ratio", "warmup_steps"):
        value = getattr(training, name)
        if value:
            raise UserError(f"{name} {value} has no effect: lr_scheduler_type is {schedule}{hint}")


def parse_parameter_groups(texts: Sequence[str]) -> list[RateEntry]:
    """Read `["layers.0-5=2e-5", "layers.6-=3e-5", "head=5e-5"]` as entries, ordered by part and layer.

    Raises:
        UserError: for an entry of another form, and for entries that overlap or leave out a layer between them.
    """
    # By part and first layer, so that neighbours are beside each other.
    entries = sorted((parse_entry(text) for text in texts), key=lambda entry: entry[1:4])
    for one, other in pairwise(entries):
        if one.part == other.part and other.first <= one.last:
            raise UserError(f"parameter_groups: {one.text} and {other.text} overlap")
    # A layer without a rate would learn at --learning_rate, far above those around it.
    layers = [entry for entry in entries if entry.part == "layers"]
    if layers and layers[0].first > 0:
        raise UserError(
            f"parameter_groups: the lowest entry is {layers[0].text}, so layer 0 is in none"
        )
    for one, other in pairwise(layers):
        if other.first > one.last + 1:
            raise UserError(
                f"parameter_groups: {one.text} and {other.text} leave out layer {one.last + 1}"
            )
    return entries


def parse_entry(text: str) -> RateEntry:
    """Read one entry: `embeddings=R`, `head=R`, `layers=R`, `layers.N=R`, `layers.N-M=R` or `layers.N-=R`."""
    match = ENTRY.fullmatch(text)
    rate = as_number(match["rate"]) if match else None
    if match is None or rate is None:
        raise UserError(
            f"parameter_groups: {text!r} is none of embeddings=RATE, head=RATE, layers=RATE, layers.N=RATE, "
            "layers.N-M=RATE, layers.N-=RATE"
        )
    numbered = match["first"] is not None
    first = int(match["first"] or 0)
    if match["last"] is not None:
        last: float = int(match["last"])
    elif match["dash"] or not numbered:
        last = float("inf")
    else:
        last = first
    if last < first:
        raise UserError(f"parameter_groups: {text!r} counts down")
    if numbered and match["part"] != "layers":
        raise UserError(f"parameter_groups: {text!r} numbers the {match['part']}")
    check_range(f"parameter_groups: {text}: the rate", rate, 0)
    return RateEntry(text, match["part"], first, last, rate)


def as_number(text: str) -> float | None:
    """Read a number; None if the text is not one."""
    try:
        return float(text)
    except ValueError:
        return None


def check_adversarial(training: Any) -> None:
    """Refuse adversarial settings of a method that is off, or that never starts."""
    method = training.adversarial
    if method == "none":
        for name in ("adversarial_epsilon", "adversarial_steps", "adversarial_start_epoch"):
            value = getattr(training, name)
            if value is not None:
                raise UserError(f"{name} {value} has no effect: adversarial is none")
        return
    settings = training.adversarial_settings()
    if method == "fgm" and settings.steps != 1:
        raise UserError(
            f"adversarial fgm is a single step, but adversarial_steps is {settings.steps}: take pgd"
        )
    # With max_steps it is not known yet how many epochs there will be.
    if training.max_steps <= 0 and settings.start_epoch >= training.num_train_epochs:
        raise UserError(
            f"adversarial {method} never starts: adversarial_start_epoch {settings.start_epoch} is not before the end "
            f"of num_train_epochs {training.num_train_epochs}"
        )
