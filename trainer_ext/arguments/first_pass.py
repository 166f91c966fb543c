"""Refuse wrong flags of train.py, and print its help, before torch is loaded: a typo should not cost seconds.

Our own flags come from their dataclasses. Those of `transformers.TrainingArguments`, whose module loads torch, are kept
in `transformers_flags.json` for the version named there; with another version nothing is refused here, and `parser.py`
does it later. `python -m trainer_ext.arguments.first_pass` writes the file anew; a test compares it with the parser.
"""

import argparse
import importlib.metadata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trainer_ext.arguments.checks import check_early
from trainer_ext.arguments.command_line import (
    HfArgumentParser,
    Parser,
    check_output_dir,
    check_rest,
    shorten,
    string_to_bool,
)
from trainer_ext.arguments.groups import (
    Arguments,
    DataArguments,
    FoldArguments,
    ModelArguments,
    ObjectiveArguments,
    OwnTrainingArguments,
)
from trainer_ext.arguments.optimisation import OptimisationArguments
from trainer_ext.arguments.precision import PrecisionArguments
from trainer_ext.arguments.recipe import merged, read_recipe, split_argv
from trainer_ext.errors import UserError
from trainer_ext.files import read_json, write_json

FLAGS = Path(__file__).with_name("transformers_flags.json")
TYPES = {"int": int, "float": float, "str": str, "string_to_bool": string_to_bool}


@dataclass
class LightTraining(OwnTrainingArguments, OptimisationArguments, PrecisionArguments):
    """`TrainingArguments` without what it inherits from transformers."""


GROUPS = (ModelArguments, DataArguments, ObjectiveArguments, LightTraining, FoldArguments)


def refuse_wrong_flags(argv: Sequence[str]) -> None:
    """Look at a command line of train.py, and at its recipe.

    Raises:
        UserError: for what `parsing.parse` would refuse, as far as it can be told without torch.
        SystemExit: after the help was printed.
    """
    parser = light_parser()
    if parser is None:
        return
    if {"-h", "--help"} & set(argv):
        parser.parse_args(["--help"])
    recipe, flags = split_argv(argv)
    tokens, names = merged(parser, read_recipe(recipe), flags, str(recipe))
    namespace, rest = parser.parse_known_args(tokens)
    check_rest(rest)
    check_output_dir(names)
    try:
        model, data, objective, training, folds = (own(group, namespace) for group in GROUPS)
    except ValueError as error:
        raise UserError(str(error)) from error
    vars(training).update(vars(namespace))
    args = Arguments(
        model, data, objective, training, folds, {name: getattr(namespace, name) for name in names}
    )
    with suppress(
        AttributeError
    ):  # for a check that asks for what only transformers works out; it is made later
        check_early(args)


def own(group: type, namespace: argparse.Namespace) -> Any:
    """A dataclass of flags from what was parsed."""
    return group(
        **{spec.name: getattr(namespace, spec.name) for spec in fields(group) if spec.init}
    )


def light_parser() -> Parser | None:
    """The parser of train.py without transformers' classes; None where another version of it is installed."""
    kept = read_json(FLAGS)
    if kept["transformers"] != importlib.metadata.version("transformers"):
        return None
    return Parser(
        GROUPS,
        [
            flag | {"type": TYPES.get(flag["type"])} if "type" in flag else flag
            for flag in kept["flags"]
        ],
    )


def described() -> dict[str, Any]:
    """What `transformers_flags.json` should hold."""
    from trainer_ext.arguments.training import TrainingArguments

    ours = {spec.name for group in GROUPS for spec in fields(group)}
    actions = HfArgumentParser(TrainingArguments)._actions
    flags = [describe(action) for action in actions if action.dest not in {*ours, "help"}]
    return {"transformers": importlib.metadata.version("transformers"), "flags": flags}


def describe(action: argparse.Action) -> dict[str, Any]:
    """One flag, as `argparse` takes it; its type by name, none for choices."""
    flag = {"spelt": list(action.option_strings), "help": shorten(action.help or "")}
    flag |= {"default": getattr(action.default, "value", action.default)}
    if isinstance(action, argparse._StoreFalseAction):
        return flag | {"action": "store_false", "dest": action.dest}
    if action.choices:
        return flag | {"choices": [getattr(choice, "value", choice) for choice in action.choices]}
    kind = (
        action.type.__name__ if action.type in TYPES.values() else None
    )  # other classes check themselves later
    values = {"nargs": action.nargs, "const": action.const, "type": kind}
    return flag | {key: value for key, value in values.items() if value is not None}


if __name__ == "__main__":
    write_json(FLAGS, described())
