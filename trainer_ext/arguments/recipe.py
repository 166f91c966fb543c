"""Recipes and command lines to the tokens that a parser takes; needs neither transformers nor torch."""

import argparse
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trainer_ext.characters import broken_at
from trainer_ext.errors import UserError, describe_error, did_you_mean

# By its first line a resolved_config.yaml is known as written by a run of this project.
RESOLVED_HEADER = "# Every flag of the run that made this model: train.py runs it again.\n"
MOST_BYTES = 10 << 20
MOST_VALUES = 100_000
MERGE = "tag:yaml.org,2002:merge"


class Merged(NamedTuple):
    """Tokens for a parser, and the names of the flags that were given."""

    tokens: list[str]
    names: list[str]


def split_argv(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """`[RECIPE.yaml] [--flag value ...]`: the recipe, and the flags."""
    argv = list(argv)
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    return recipe, argv


def merged(
    parser: argparse.ArgumentParser, recipe: dict[str, Any], argv: list[str], where: str
) -> Merged:
    """The recipe called `where` and the command line, which wins, as tokens for the parser.

    Raises:
        UserError: for a name that is no flag, with the nearest.
    """
    known = {action.dest for action in parser._actions}
    cli_names = flag_names(argv)
    check_known(cli_names, known, "flag --{}")
    check_known(recipe, known - {"help"}, f"key {{}} in {where}")
    from_scratch = parser.parse_known_args(argv)[0].from_scratch
    values = {key: value for key, value in recipe.items() if value is not None}
    kind = values.get("from_scratch", "none")
    values = {
        key: value
        for key, value in values.items()
        if not overridden(key, cli_names, from_scratch, kind)
    }
    return Merged(to_tokens(values) + argv, [*values, *cli_names])


def read_recipe(path: str | os.PathLike | None) -> dict[str, Any]:
    """The flat mapping in a YAML recipe; a key with the value null counts as left out.

    Items of lists, and the words that YAML 1.1 takes for booleans (yes, no, on, off), are kept as written.
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise UserError(f"recipe {path} does not exist")
    values, node = read_yaml(path)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path} must be a flat mapping of flag names to values")
    if any(key.tag == MERGE for key, _ in node.value):
        raise UserError(
            f"{path} must be a flat mapping of flag names to values: `<<` is not for it"
        )
    if len(node.value) > len(values):
        names = [key.value for key, _ in node.value]
        raise UserError(
            f"{path} gives {', '.join(sorted({n for n in names if names.count(n) > 1}))} more than once"
        )
    for key, items in node.value:
        if isinstance(
            items, yaml.SequenceNode
        ):  # label_names: [yes, no] are two words, not two booleans
            pairs = zip(items.value, values[key.value], strict=True)
            values[key.value] = [
                i.value if isinstance(i, yaml.ScalarNode) else value for i, value in pairs
            ]
        elif isinstance(values[key.value], bool) and items.value.lower() not in ("true", "false"):
            values[key.value] = (
                items.value
            )  # save_strategy: no is a word; a flag that is a boolean reads it as one
    return values


def read_yaml(path: str | os.PathLike) -> tuple[Any, yaml.Node | None]:
    """What a YAML file holds, as Python has it and as it is written.

    Raises:
        UserError: for what is no YAML, or larger than a recipe is, also by aliases that repeat each other.
    """
    if Path(path).stat().st_size > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES >> 20} MiB: it is no recipe")
    try:
        text = Path(path).read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        check_size(path, node)  # before anything is built of it
        values = yaml.safe_load(text)
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: a number or a date that is none
        raise UserError(f"{path} is not valid YAML: {describe_error(error)}") from error
    if broken_at(values) is not None:
        raise UserError(f"{path} holds a broken character (half of a surrogate pair)")
    return values, node


def check_size(path: str | os.PathLike, node: yaml.Node | None) -> None:
    """Raise `UserError` for more values than a recipe has, each counted as often as an alias repeats it."""
    waiting, count = [node], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise UserError(
                f"{path} has more than {MOST_VALUES} values (aliases counted): it is no recipe"
            )
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def check_known(names: Iterable[str], known: set[str], where: str) -> None:
    """Raise `UserError` for the first name that is no flag, with the nearest one that is."""
    for name in names:
        if name not in known:
            raise UserError(f"unknown {where.format(name)}{did_you_mean(name, known)}")


def flag_names(argv: Sequence[str]) -> list[str]:
    """The flags on a command line, without dashes: `['--max_steps', '3', '--fp16']` -> `['max_steps', 'fp16']`."""
    return [
        token[2:].split("=", 1)[0].replace("-", "_") for token in argv if token.startswith("--")
    ]


def overridden(
    key: str, cli_names: Sequence[str], from_scratch: str = "none", recipes: str = "none"
) -> bool:
    """Whether the command line makes a recipe's key void: by naming it, or by choosing the other kind of encoder.

    `from_scratch` is the command line's; `none` only switches a recipe's off and chooses nothing. `recipes` is the
    recipe's: its `config_overrides` are for such an encoder, those without it for any pretrained one.
    """
    if key == "model_name_or_path" and from_scratch != "none":
        return True
    if key == "from_scratch" and "model_name_or_path" in cli_names:
        return True
    if key == "config_overrides" and (
        from_scratch != "none" or recipes != "none" and "model_name_or_path" in cli_names
    ):
        return True
    return key in cli_names


def to_tokens(values: dict[str, Any]) -> list[str]:
    """argv tokens for YAML values, so that both sources are typed and checked by the same parser."""
    tokens = []
    for key, value in values.items():
        if hasattr(value, "tolist"):
            value = value.tolist()  # an array, or the columns of a data frame
        if key == "parameter_groups" and isinstance(value, Mapping):
            value = [f"{part}={rate}" for part, rate in value.items()]
        items = value if isinstance(value, (list, tuple)) else [value]
        tokens += [
            f"--{key}",
            *(json.dumps(v) if isinstance(v, (dict, bool)) else str(v) for v in items),
        ]
    return tokens
