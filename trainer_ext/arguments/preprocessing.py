"""The flags that shape what the model reads and how often: cleaning, truncation, balancing; a part of `DataArguments`.

Imports nothing of ours but small modules and the tasks, as `groups.py`, which it is a part of.
"""

import os
from dataclasses import dataclass
from typing import Any

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS

TRUNCATIONS = ("head", "tail", "head_tail")
CLEANING = ("nfkc", "halfwidth", "html", "control", "repeated", "stopwords")
BALANCES = ("none", "oversample", "undersample", "hybrid")
NOT_BY_WORD = ("html", "stopwords")


@dataclass
class PreprocessingArguments:
    """What is done to texts before they are tokens, which tokens stay, and how often a training row is shown."""

    _argument_group_name = "preprocessing"

    truncation: str = option(
        "head", "Which end of a text beyond max_length is kept.", choices=TRUNCATIONS
    )
    # Its range leaves out both ends, which check_truncation explains in words of its own.
    truncation_head_share: float = option(
        0.25, "head_tail: the head's share of the tokens that stay."
    )
    truncation_marker: str | None = option(
        None, "head_tail: a text whose tokens stand where the middle was cut out."
    )
    clean: list[str] | None = option(
        None,
        "Cleaning steps, in this order; predict does the same.",
        choices=("none", *CLEANING),
    )
    stopwords_file: str | None = option(None, "clean stopwords: the words, one a line.")
    balance: str = option(
        "none",
        "Training rows are drawn so that classes are shown equally often: up to the largest class, down to the "
        "smallest, or (hybrid) all to the mean size.",
        choices=BALANCES,
    )

    def __post_init__(self) -> None:
        if self.clean == ["none"]:
            self.clean = None


def check_preprocessing(args: Any) -> None:
    """Refuse settings that contradict each other or have no effect.

    Args:
        args: the `Arguments`, of which `PreprocessingArguments` are a part.

    Raises:
        UserError: naming both flags and both values.
    """
    data, objective = args.data, args.objective
    check_truncation(data, args.given)
    check_cleaning(data)
    if data.balance == "none":
        return
    if not TASKS[data.task].can_balance:
        possible = ", ".join(name for name, task in TASKS.items() if task.can_balance)
        raise UserError(f"balance {data.balance} is for {possible}, but the task is {data.task}")
    for name in ("class_weights", "focal_alpha"):
        value = getattr(objective, name)
        if isinstance(
            value, str
        ):  # weights from how often a class occurs; numbers are the user's own choice
            raise UserError(
                f"balance {data.balance} and {name} {value} both correct for rare classes; drop one"
            )


def check_truncation(data: Any, given: dict[str, Any]) -> None:
    """A share and a marker only where there are a head and a tail; one task reads the head only."""
    if data.truncation != "head_tail":
        for name in ("truncation_head_share", "truncation_marker"):
            if name in given and getattr(data, name) is not None:
                raise UserError(
                    f"{name} {getattr(data, name)} is for truncation head_tail, but truncation is {data.truncation}"
                )
    if not 0 < data.truncation_head_share < 1:
        raise UserError(
            f"truncation_head_share {data.truncation_head_share} is out of range: it must be above 0 (truncation tail) "
            "and below 1 (truncation head)"
        )
    if data.truncation_marker is not None and not data.truncation_marker.strip():
        raise UserError(f"truncation_marker {data.truncation_marker!r} has no tokens; leave it out")
    if TASKS[data.task].reads_words and data.truncation != "head":
        raise UserError(
            f"truncation {data.truncation} would cut words with their slots out of the middle or the front: "
            f"the task {data.task} takes head only"
        )


def check_cleaning(data: Any) -> None:
    """Each step once, the stop words with their file, and for tagged words no step that could drop or join them."""
    steps = data.clean or []
    if "none" in steps:
        raise UserError(f"clean {' '.join(steps)}: none stands alone")
    twice = {step for step in steps if steps.count(step) > 1}
    if twice:
        raise UserError(f"clean {' '.join(steps)} names {', '.join(sorted(twice))} more than once")
    if "stopwords" in steps and not data.stopwords_file:
        raise UserError("clean stopwords needs a list of words, but stopwords_file is not given")
    if data.stopwords_file and "stopwords" not in steps:
        raise UserError(
            f"stopwords_file {data.stopwords_file} has no effect: clean {' '.join(steps) or 'none'}"
        )
    if data.stopwords_file and not os.path.isfile(data.stopwords_file):
        raise UserError(f"stopwords_file: {data.stopwords_file} is no file")
    refused = [step for step in steps if step in NOT_BY_WORD]
    if TASKS[data.task].reads_words and refused:
        raise UserError(
            f"clean {refused[0]} may drop or join words, which the task {data.task} tags one by one; leave it out"
        )
