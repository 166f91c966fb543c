"""Refuse wrong flags of train.py, and print its help, before torch is loaded: a typo should not cost seconds.

Our own flags come from their dataclasses. Those of `transformers.TrainingArguments`, whose module loads torch, are kept
in a file for the version of transformers named there. With another version nothing is refused here; `parser.py` does
it later. `python -m trainer_ext.arguments.first_pass` writes the file anew; a test compares it with transformers.
"""

import argparse
import importlib.metadata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trainer_ext.arguments.checks import check_early
from trainer_ext.arguments.command_line import (
    Parser,
    build,
    check_output_dir,
    check_rest,
    read_boolean,
)
from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.folds import FoldArguments
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.help import choices_of, shorten, with_notes
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.arguments.optimisation import OptimisationArguments
from trainer_ext.arguments.own_training import OwnTrainingArguments
from trainer_ext.arguments.precision import PrecisionArguments
from trainer_ext.arguments.recipe import merged, read_recipe, split_argv
from trainer_ext.arguments.report import ReportArguments
from trainer_ext.compatibility import KEPT_FLAGS
from trainer_ext.errors import UserError
from trainer_ext.files import read_json, write_json

FLAGS = Path(__file__).with_name(KEPT_FLAGS)
TYPES = {"int": int, "float": float, "str": str, "string_to_bool": read_boolean}
PROG = "train.py"
DESCRIPTION = "Fine-tune an encoder. Flags may also be set in the recipe; the command line wins."


@dataclass
class LightTraining(
    OwnTrainingArguments, OptimisationArguments, PrecisionArguments, ReportArguments
):
    """`TrainingArguments` without what it inherits from transformers."""


GROUPS = (ModelArguments, DataArguments, ObjectiveArguments, LightTraining, FoldArguments)


def refuse_wrong_flags(argv: Sequence[str], prog: str = PROG) -> None:
    """Look at a command line of train.py, and at its recipe.

    Raises:
        UserError: for what `parser.parse` would refuse, as far as it can be told without torch.
        SystemExit: after the help was printed.
    """
    kept = kept_flags()
    if kept is None:
        return
    parser = training_parser(kept, prog)
    if "-h" in argv or "--help" in argv:
        parser.parse_args(["--help"])
    recipe, flags = split_argv(argv)
    tokens, names = merged(parser, read_recipe(recipe), flags, str(recipe))
    namespace, rest = parser.parse_known_args(tokens)
    check_rest(rest)
    check_output_dir(names)
    try:
        model = build(ModelArguments, namespace)
        data = build(DataArguments, namespace)
        objective = build(ObjectiveArguments, namespace)
        training = build(LightTraining, namespace)
        folds = build(FoldArguments, namespace)
    except ValueError as error:
        raise UserError(str(error)) from error
    # Checks also look at flags of transformers; here they have the values of the command line.
    training.__dict__.update(vars(namespace))
    given = {name: getattr(namespace, name) for name in names}
    args = Arguments(model, data, objective, training, folds, given)
    with suppress(AttributeError):
        # A check that asks for what only transformers works out is made later.
        check_early(args)


def training_parser(flags: Sequence[dict[str, Any]], prog: str = PROG) -> Parser:
    """Return the parser of train.py.

    Args:
        flags: of transformers, as `described_flags` returns them.
        prog: how the command was called.
    """
    others = []
    for flag in flags:
        keywords = flag | {"help": with_notes(flag["help"], [], flag["default"])}
        if "type" in flag:
            keywords["type"] = TYPES[flag["type"]]
        others.append(keywords)
    usage = f"{prog} [RECIPE.yaml] [--flag value ...]"
    return Parser(GROUPS, others, prog=prog, usage=usage, description=DESCRIPTION)


def kept_flags() -> list[dict[str, Any]] | None:
    """Return transformers' flags from the file; None if it was written for another version of transformers."""
    kept = read_json(FLAGS)
    if kept["transformers"] != importlib.metadata.version("transformers"):
        return None
    flags: list[dict[str, Any]] = kept["flags"]
    return flags


def described() -> dict[str, Any]:
    """Return what the file should hold."""
    return {
        "transformers": importlib.metadata.version("transformers"),
        "flags": described_flags(),
    }


def described_flags() -> list[dict[str, Any]]:
    """Ask transformers for its flags; loads torch."""
    from transformers import HfArgumentParser, TrainingArguments

    ours = {"help"}
    for group in GROUPS:
        ours.update(spec.name for spec in fields(group))
    parser = HfArgumentParser(TrainingArguments)  # type: ignore[arg-type]  # transformers' DataClassType is a NewType
    return [describe(action) for action in settable(parser._actions) if action.dest not in ours]


def settable(actions: Iterable[argparse.Action]) -> Iterable[argparse.Action]:
    """Leave out `--no_NAME`, which transformers adds for a switch that is on: here a switch takes false."""
    return (action for action in actions if not isinstance(action, argparse._StoreFalseAction))


def describe(action: argparse.Action) -> dict[str, Any]:
    """Return one flag as `argparse` takes it, its type by name.

    A type that JSON cannot hold is left out, and so is that of a choice: `TrainingArguments` reads both from text.
    """
    flag = {
        "spelt": list(action.option_strings),
        "help": shorten(action.help or ""),
        "default": getattr(action.default, "value", action.default),
    }
    if action.choices:
        return flag | {"choices": choices_of(action.choices)}
    kind = getattr(action.type, "__name__", "")
    values = {
        "nargs": action.nargs,
        "const": action.const,
        "type": kind if kind in TYPES else None,
    }
    return flag | {key: value for key, value in values.items() if value is not None}


if __name__ == "__main__":
    write_json(FLAGS, described())
