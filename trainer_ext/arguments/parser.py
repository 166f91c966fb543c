"""From a YAML recipe and a command line to `Arguments`, and back to a YAML that runs again."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from trainer_ext.arguments.checks import check_arguments
from trainer_ext.arguments.command_line import Parser, check_output_dir, check_rest
from trainer_ext.arguments.groups import (
    RESOLVED_HEADER,
    Arguments,
    DataArguments,
    FoldArguments,
    ModelArguments,
    ObjectiveArguments,
)
from trainer_ext.arguments.recipe import merged, read_recipe, split_argv, to_tokens
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError
from trainer_ext.files import write_text
from trainer_ext.redaction import is_secret

GROUPS = (ModelArguments, DataArguments, ObjectiveArguments, TrainingArguments, FoldArguments)
# Where a run writes, and how it was started, is not part of what it is.
NOT_PART_OF_A_RECIPE = {
    "overwrite_output_dir",
    "resume_from_checkpoint",
    "local_rank",
    "logging_dir",
    "use_cpu",
    "num_fold_workers",
}


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Parse `[RECIPE.yaml] [--flag value ...]`; a flag on the command line wins over the recipe.

    Raises:
        UserError: for an unknown flag (naming the nearest), a value of the wrong type or a contradiction.
    """
    recipe, flags = split_argv(sys.argv[1:] if argv is None else argv)
    return parse_tokens(read_recipe(recipe), flags, str(recipe))


def parse_values(recipe: Mapping[str, Any], flags: Mapping[str, Any]) -> Arguments:
    """The same for Python values: `flags` win over `recipe`, and one that is None takes the recipe's back.

    Raises:
        UserError: as `parse` does.
    """
    taken_back = {key: None for key, value in flags.items() if value is None}
    tokens = to_tokens({key: value for key, value in flags.items() if value is not None})
    return parse_tokens({**recipe, **taken_back}, tokens, "the recipe")


def parse_tokens(recipe: dict[str, Any], argv: list[str], where: str) -> Arguments:
    """The values of the recipe called `where`, and command-line tokens, to checked arguments."""
    parser = Parser(GROUPS)
    tokens, names = merged(parser, recipe, argv, where)
    try:
        namespace, rest = parser.parse_known_args(tokens)
        model, data, objective, training, folds, *_ = parser.parse_args_into_dataclasses(
            tokens, return_remaining_strings=True, look_for_args_file=False
        )
    except (
        ValueError,
        TypeError,
        ImportError,
        OSError,
    ) as error:  # TrainingArguments checks itself with these
        text = re.sub(r"\b\w+Strategy\.(\w+)", lambda found: found[1].lower(), str(error))
        raise UserError(" ".join(text.split())) from error
    check_rest(rest)
    data.split_seed = training.seed
    args = Arguments(
        model, data, objective, training, folds, {name: getattr(namespace, name) for name in names}
    )
    check_output_dir(names)
    check_arguments(args)
    return args


def resolved(args: Arguments) -> dict[str, Any]:
    """The flags that differ from their default or were given, in an order fit to read; secrets left out."""
    values = {}
    for group in (args.data, args.folds, args.model, args.objective, args.training):
        for spec in fields(group):
            if not spec.init or spec.name in NOT_PART_OF_A_RECIPE or is_secret(spec.name):
                continue
            value = getattr(group, spec.name)
            default = (
                spec.default_factory() if spec.default_factory is not MISSING else spec.default
            )
            if spec.name in args.given:  # as given: `report_to none` has become an empty list since
                values[spec.name] = plain(args.given[spec.name])
            elif value not in (None, default) and group is not args.training:
                values[spec.name] = value
    values.setdefault("learning_rate", args.training.learning_rate)
    values.setdefault("seed", args.training.seed)
    return values


def plain(value: Any) -> Any:
    """Enums as their value, also inside a list; everything else as it is."""
    return (
        [plain(item) for item in value]
        if isinstance(value, list)
        else getattr(value, "value", value)
    )


def resolved_yaml(args: Arguments) -> str:
    """The same as YAML: words such as `no` in quotes, so that they are read as words again."""
    return yaml.safe_dump(resolved(args), allow_unicode=True, sort_keys=False, width=float("inf"))


def write_resolved(args: Arguments, folder: Path) -> None:
    """Write `resolved_config.yaml`, which `train.py` runs again as it is."""
    write_text(folder / "resolved_config.yaml", RESOLVED_HEADER + resolved_yaml(args))
