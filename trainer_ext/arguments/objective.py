"""The flags of the loss terms."""

from dataclasses import dataclass

from trainer_ext.arguments.command_line import OFF_WORDS
from trainer_ext.arguments.distillation import DistillationArguments
from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError

WEIGHT_METHODS = ("balanced", "effective")


@dataclass
class ObjectiveArguments(DistillationArguments):
    """The loss terms. A term is off at 0, so an ablation is one flag."""

    _argument_group_name = "objective"

    focal_gamma: float = option(
        0.0, "Focusing parameter of Focal Loss; 0: cross entropy.", minimum=0
    )
    # Lists of words: numbers, or one of WEIGHT_METHODS.
    focal_alpha: list[str] | None = option(
        None,
        "Focal Loss weight: one number, one per class in order, balanced or effective.",
        above=0,
    )
    class_weights: list[str] | None = option(
        None,
        "Weights in cross entropy, of positives in BCE: none, balanced, effective or w1 w2 ...",
        above=0,
    )
    regression_loss: str = option(
        "rmse", "Loss of the task regression.", choices=("rmse", "mse", "smooth_l1")
    )
    rdrop_alpha: float = option(0.0, "Weight of R-Drop's KL term; 0: off.", minimum=0)
    slot_loss_weight: float = option(
        1.0, "Weight of the slots' terms in the task joint.", minimum=0
    )

    def __post_init__(self) -> None:
        # From here on a word, numbers or None: the type hint says what the command line has.
        self.focal_alpha = word_or_numbers("focal_alpha", self.focal_alpha)  # type: ignore[assignment]
        self.class_weights = word_or_numbers("class_weights", self.class_weights)  # type: ignore[assignment]


def word_or_numbers(name: str, value: list[str] | None) -> str | list[float] | None:
    """Read `["balanced"]` as the word, `["none"]` as None, and anything else as numbers.

    Raises:
        ValueError: if it is none of these.
    """
    if not value:
        return None
    words = [str(item).lower() for item in value]
    if len(words) == 1 and words[0] in OFF_WORDS:
        return None
    if len(value) == 1 and value[0] in WEIGHT_METHODS:
        return value[0]
    try:
        return [float(item) for item in value]
    except ValueError:
        given = " ".join(map(str, value))
        expected = f"none, {', '.join(WEIGHT_METHODS)}, or numbers"
        raise ValueError(f"{name} {given} is not understood; expected {expected}") from None


def check_terms(objective: ObjectiveArguments) -> None:
    """Refuse weights that contradict each other or have no effect.

    Raises:
        UserError: naming both flags and both values.
    """
    gamma, alpha = objective.focal_gamma, objective.focal_alpha
    weights = objective.class_weights
    if weights and alpha:
        raise UserError(f"class_weights {weights} and focal_alpha {alpha} are both given; drop one")
    # Two weights for the same purpose would multiply, which nobody means.
    if weights and gamma:
        raise UserError(
            f"class_weights {weights} is not a part of Focal Loss (focal_gamma {gamma}); weight it with focal_alpha"
        )
    if alpha and not gamma:
        raise UserError(
            f"focal_alpha {alpha} has no effect: focal_gamma is 0, which is cross entropy"
        )
