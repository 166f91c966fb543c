"""From a YAML recipe and a command line to `Arguments`, and back to a YAML that runs again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from trainer_ext.arguments.checks import check_arguments
from trainer_ext.arguments.command_line import build, check_output_dir, check_rest, given_words
from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.fields import default_of
from trainer_ext.arguments.first_pass import described_flags, kept_flags, training_parser
from trainer_ext.arguments.folds import FoldArguments
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.launch import RAY_FLAGS
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.arguments.recipe import (
    RESOLVED_HEADER,
    merged,
    read_recipe,
    split_argv,
    to_tokens,
)
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError
from trainer_ext.files import write_text
from trainer_ext.redaction import is_secret

# Where a run writes, and how it was started, is not part of what it is.
NOT_PART_OF_A_RECIPE = {
    "overwrite_output_dir",
    "resume_from_checkpoint",
    "local_rank",
    "logging_dir",
    "use_cpu",
    "num_fold_workers",
    "launcher",
    *RAY_FLAGS,
}


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Parse `[RECIPE.yaml] [--flag value ...]`; a flag on the command line wins over the recipe.

    Raises:
        UserError: for an unknown flag (naming the nearest), a value of the wrong type or a contradiction.
    """
    recipe, flags = split_argv(given_words(argv))
    return parse_tokens(read_recipe(recipe), flags, str(recipe))


def parse_values(recipe: Mapping[str, Any], flags: Mapping[str, Any]) -> Arguments:
    """Parse Python values: `flags` win over `recipe`, and one that is None takes the recipe's back.

    Raises:
        UserError: as `parse` does.
    """
    taken_back = {key: None for key, value in flags.items() if value is None}
    tokens = to_tokens({key: value for key, value in flags.items() if value is not None})
    return parse_tokens({**recipe, **taken_back}, tokens, "the recipe")


def parse_tokens(recipe: dict[str, Any], argv: list[str], where: str) -> Arguments:
    """Turn the values of the recipe called `where`, and command-line tokens, into checked arguments."""
    # Of another version of transformers, ask it: the first pass could not.
    parser = training_parser(kept_flags() or described_flags())
    tokens, names = merged(parser, recipe, argv, where)
    namespace, rest = parser.parse_known_args(tokens)
    given = {name: getattr(namespace, name) for name in names}
    try:
        model = build(ModelArguments, namespace)
        data = build(DataArguments, namespace)
        objective = build(ObjectiveArguments, namespace)
        folds = build(FoldArguments, namespace)
        training = build_training(given)
    except (ValueError, TypeError, ImportError, OSError) as error:
        # The dataclasses refuse with ValueError, TrainingArguments with all of them.
        raise UserError(readable(str(error))) from error
    check_rest(rest)
    # Members train with seeds of their own (fold, seeds), but must keep back the same rows.
    data.split_seed = training.seed
    check_output_dir(names)
    args = Arguments(model, data, objective, training, folds, given)
    check_arguments(args)
    return args


def build_training(given: Mapping[str, Any]) -> TrainingArguments:
    """Make `TrainingArguments` of what was given.

    Only of that: some of transformers' defaults depend on the version of torch, and the kept flags have one of them.
    """
    names = [spec.name for spec in fields(TrainingArguments) if spec.init]
    return TrainingArguments(**{name: given[name] for name in names if name in given})


def readable(message: str) -> str:
    """Return a message of transformers on one line, with strategies as a user writes them, and a fix if it is known."""
    text = re.sub(r"\b\w+Strategy\.(\w+)", lambda found: found[1].lower(), message)
    line = " ".join(text.split())
    return line + fix_of_strategies(line)


def fix_of_strategies(line: str) -> str:
    """Return which flag makes the strategies that a message names agree; empty for any other message."""
    found = re.search(r"Evaluation strategy: (\w+) - Save strategy: (\w+)", line)
    if not found:
        return ""
    evaluated, saved = found.groups()
    if evaluated == "no":
        return f"; give --eval_strategy {saved}"
    return f"; give --save_strategy {evaluated}"


def resolved(args: Arguments) -> dict[str, Any]:
    """Return the flags that differ from their default or were given, in an order fit to read; secrets left out."""
    values = {}
    for group in (args.data, args.folds, args.model, args.objective, args.training):
        for spec in fields(group):
            if not spec.init or spec.name in NOT_PART_OF_A_RECIPE or is_secret(spec.name):
                continue
            value = getattr(group, spec.name)
            if spec.name in args.given:
                # As it was given: `report_to none` has become an empty list since.
                values[spec.name] = plain(args.given[spec.name])
            elif group is not args.training and value not in (None, default_of(spec)):
                values[spec.name] = value
    values.setdefault("learning_rate", args.training.learning_rate)
    values.setdefault("seed", args.training.seed)
    return values


def plain(value: Any) -> Any:
    """Return enums by their value, also inside a list; everything else as it is."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return getattr(value, "value", value)


def resolved_yaml(args: Arguments) -> str:
    """Return the resolved flags as YAML."""
    return yaml_of(resolved(args))


def yaml_of(values: Mapping[str, Any]) -> str:
    """Return flags as YAML: words such as `no` in quotes, so that they are read as words again."""
    # Without a width yaml would break long texts over several lines.
    text: str = yaml.safe_dump(
        dict(values), allow_unicode=True, sort_keys=False, width=float("inf")
    )
    return text


def write_resolved(args: Arguments, folder: Path) -> None:
    """Write `resolved_config.yaml`, which `train.py` runs again as it is."""
    write_text(folder / "resolved_config.yaml", RESOLVED_HEADER + resolved_yaml(args))
