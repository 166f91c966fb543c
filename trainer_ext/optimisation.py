"""The flags of the optimisation methods: rates by depth, adversarial training; a part of `TrainingArguments`.

Imports nothing of ours but the error type, as `arguments.py`, which it is a part of.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

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


@dataclass
class OptimisationArguments:
    """What this project adds to the optimisation of `transformers.TrainingArguments`."""

    layer_wise_lr_decay: float = field(
        default=1.0, metadata={"help": "Each encoder layer learns at this times the rate of the one above it; 1: off."}
    )
    head_lr_factor: float = field(default=1.0, metadata={"help": "The head learns at this times --learning_rate."})
    adversarial: str = field(
        default="none",
        metadata={
            "choices": ("none", *ADVERSARIAL_DEFAULTS),
            "help": "Perturb the embeddings (fgm: one step, pgd: several) or all weight matrices (awp) along each "
            "micro-batch's gradient, and add the gradient found there to the clean one.",
        },
    )
    adversarial_epsilon: float | None = field(
        default=None,
        metadata={
            "help": "Length of the perturbation; fgm and pgd: L2 norm on the embedding matrix (1.0); "
            "awp: relative to each matrix's norm (0.005)."
        },
    )
    adversarial_steps: int | None = field(
        default=None, metadata={"help": "Extra forward/backward runs a micro-batch; pgd: 3, awp: 1, fgm is always 1."}
    )
    adversarial_start_epoch: float | None = field(
        default=None,
        metadata={"help": "No perturbation before this epoch (may be 0.5); fgm and pgd: 0, awp: 1, a trained head."},
    )

    def adversarial_settings(self) -> AdversarialSettings:
        """The adversarial flags, with the method's defaults for those not given."""
        given = (self.adversarial_epsilon, self.adversarial_steps, self.adversarial_start_epoch)
        defaults = ADVERSARIAL_DEFAULTS[self.adversarial]
        return AdversarialSettings(*(d if g is None else g for g, d in zip(given, defaults, strict=True)))


def check_optimisation(training: Any) -> None:
    """Numbers in their ranges, and no setting without an effect.

    Args:
        training: the `TrainingArguments`, of which `OptimisationArguments` are a part.

    Raises:
        UserError: naming both flags and both values.
    """
    check_range("layer_wise_lr_decay", training.layer_wise_lr_decay, 0, 1, above=True)
    check_range("head_lr_factor", training.head_lr_factor, 0, above=True)
    check_adversarial(training)


def check_adversarial(training: Any) -> None:
    """Adversarial settings must belong to a method that is on and at some time starts."""
    method = training.adversarial
    if method == "none":
        for name in ("adversarial_epsilon", "adversarial_steps", "adversarial_start_epoch"):
            if getattr(training, name) is not None:
                raise UserError(f"{name} {getattr(training, name)} has no effect: adversarial is none")
        return
    settings = training.adversarial_settings()
    check_range("adversarial_epsilon", settings.epsilon, 0)
    check_range("adversarial_steps", settings.steps, 1)
    check_range("adversarial_start_epoch", settings.start_epoch, 0)
    if method == "fgm" and settings.steps != 1:
        raise UserError(f"adversarial fgm is a single step, but adversarial_steps is {settings.steps}: take pgd")
    if training.max_steps <= 0 and settings.start_epoch >= training.num_train_epochs:
        raise UserError(
            f"adversarial {method} never starts: adversarial_start_epoch {settings.start_epoch} is not before the end "
            f"of num_train_epochs {training.num_train_epochs}"
        )
    for name in ("deepspeed", "fsdp"):
        if getattr(training, name):
            raise UserError(
                f"adversarial {method} changes whole parameters in place, which {name} {getattr(training, name)} splits"
            )
