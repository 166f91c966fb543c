"""The flags of preprocessing, a part of `DataArguments`: cleaning, truncation, and how often a row is shown."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS

if TYPE_CHECKING:
    from trainer_ext.arguments.data import DataArguments
    from trainer_ext.arguments.groups import Arguments

TRUNCATIONS = ("head", "tail", "head_tail")
CLEANING = ("nfkc", "halfwidth", "html", "control", "repeated", "stopwords")
BALANCES = ("none", "oversample", "undersample", "hybrid")
# Steps that look at a text as a whole: they may drop or join words.
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
        None, "head_tail: text inserted where the middle was cut out."
    )
    clean: list[str] | None = option(
        None,
        "Cleaning steps, in this order; predict does the same.",
        choices=("none", *CLEANING),
    )
    stopwords_file: str | None = option(None, "clean stopwords: the words, one a line.")
    balance: str = option(
        "none",
        "Show classes equally often: as the largest, as the smallest, or (hybrid) as their mean.",
        choices=BALANCES,
    )

    def __post_init__(self) -> None:
        # The word takes back a recipe's steps.
        if self.clean == ["none"]:
            self.clean = None


def check_preprocessing(args: "Arguments") -> None:
    """Refuse settings that contradict each other or have no effect.

    Raises:
        UserError: naming both flags and both values.
    """
    check_truncation(args.data, args.given)
    check_cleaning(args.data)
    check_balance(args)


def check_balance(args: "Arguments") -> None:
    """Refuse balancing for tasks that cannot, and beside weights that do the same."""
    balance, task = args.data.balance, args.data.task
    if balance == "none":
        return
    if not TASKS[task].can_balance:
        possible = ", ".join(name for name, kind in TASKS.items() if kind.can_balance)
        raise UserError(f"balance {balance} is for {possible}, but the task is {task}")
    for name in ("class_weights", "focal_alpha"):
        value = getattr(args.objective, name)
        # A word takes the weights from how often a class occurs; numbers are the user's own choice.
        if isinstance(value, str):
            raise UserError(
                f"balance {balance} and {name} {value} both correct for rare classes; drop one"
            )


def check_truncation(data: "DataArguments", given: Mapping[str, Any]) -> None:
    """Refuse a share and a marker without a head and a tail, and truncation that the task cannot follow."""
    if data.truncation != "head_tail":
        for name in ("truncation_head_share", "truncation_marker"):
            value = getattr(data, name)
            if name in given and value is not None:
                raise UserError(
                    f"{name} {value} is for truncation head_tail, but truncation is {data.truncation}"
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


def check_cleaning(data: "DataArguments") -> None:
    """Check that each step occurs once, stop words have their file, and no tagged word can be dropped or joined."""
    steps = data.clean or []
    # In the order they are given in, which is the order they are done in.
    given = " ".join(steps) or "none"
    if "none" in steps:
        raise UserError(f"clean {given}: none stands alone")
    twice = sorted({step for step in steps if steps.count(step) > 1})
    if twice:
        raise UserError(f"clean {given} names {', '.join(twice)} more than once")
    if "stopwords" in steps and not data.stopwords_file:
        raise UserError("clean stopwords needs a list of words, but stopwords_file is not given")
    if data.stopwords_file and "stopwords" not in steps:
        raise UserError(f"stopwords_file {data.stopwords_file} has no effect: clean {given}")
    if data.stopwords_file and not os.path.isfile(data.stopwords_file):
        raise UserError(f"stopwords_file: {data.stopwords_file} is not a file")
    refused = [step for step in steps if step in NOT_BY_WORD]
    if TASKS[data.task].reads_words and refused:
        raise UserError(
            f"clean {refused[0]} may drop or join words, which the task {data.task} tags one by one; leave it out"
        )
