"""Recipes and command lines to the tokens that a parser takes; needs neither transformers nor torch."""

import argparse
import json
from collections import Counter
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
TEXT, NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"


class Merged(NamedTuple):
    """Tokens for a parser, and the names of the flags that were given."""

    tokens: list[str]
    names: list[str]


def split_argv(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split `[RECIPE.yaml] [--flag value ...]` into the recipe and the flags."""
    words = list(argv)
    if words and not words[0].startswith("-"):
        return words[0], words[1:]
    return None, words


def merged(
    parser: argparse.ArgumentParser,
    recipe: Mapping[str, Any],
    argv: list[str],
    where: str,
) -> Merged:
    """Join the recipe called `where` and the command line, which wins, to tokens for the parser.

    Raises:
        UserError: for a name that is not a flag, with the nearest.
    """
    known = {action.dest for action in parser._actions}
    cli_names = flag_names(argv)
    check_known(cli_names, known, "flag --{}")
    # A recipe with `help` would print the help text instead of training.
    recipe_keys = known - {"help"}
    check_known(recipe, recipe_keys, f"key {{}} in {where}")
    from_cli, _ = parser.parse_known_args(argv)
    from_scratch = from_cli.from_scratch
    recipes_from_scratch = recipe.get("from_scratch") or "none"
    values = {}
    for key, value in recipe.items():
        void = overridden(key, cli_names, from_scratch, recipes_from_scratch)
        if value is not None and not void:
            values[key] = value
    return Merged(to_tokens(values) + argv, [*values, *cli_names])


def read_recipe(path: str | Path | None) -> dict[str, Any]:
    """Read the flat mapping in a YAML recipe; a key with the value null counts as left out.

    Raises:
        UserError: for a file that is not there, not YAML, or not such a mapping.
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise UserError(f"recipe {path} does not exist")
    return mapping_in(read_yaml(path), str(path))


def mapping_in(node: yaml.Node | None, where: str) -> dict[str, Any]:
    """Return the flat mapping of flag names to values in a node of YAML.

    Args:
        node: what `read_yaml` returned, or a part of it.
        where: it stands, for messages.

    Raises:
        UserError: for what is not such a mapping.
    """
    values = {}
    for key, value in items_of(node, where):
        values[key] = as_written(value)
    if broken_at(values) is not None:
        raise UserError(f"{where} holds a broken character (half of a surrogate pair)")
    return values


def items_of(node: yaml.Node | None, where: str) -> list[tuple[str, yaml.Node]]:
    """Return names and values of a mapping as they are written.

    Raises:
        UserError: for anything else, and for names that are not words or occur twice.
    """
    flat = f"{where} must be a flat mapping of flag names to values"
    if not isinstance(node, yaml.MappingNode):
        raise UserError(flat)
    keys = [key for key, _ in node.value]
    if any(key.value == "<<" for key in keys):
        raise UserError(f"{flat}: `<<` is not for it")
    # `1: a` would be a flag called 1, and `[a]: b` has no name at all.
    if any(key.tag != TEXT for key in keys):
        raise UserError(flat)
    check_no_repeats(where, keys)
    return [(key.value, value) for key, value in node.value]


def check_no_repeats(path: str | Path, keys: Sequence[yaml.Node]) -> None:
    """Raise `UserError` for keys that occur more than once, of which YAML takes the last one in silence."""
    names = Counter(key.value for key in keys)
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        listed = ", ".join(sorted(repeated))
        raise UserError(f"{path} gives {listed} more than once")


def as_written(node: yaml.Node) -> Any:
    """Return a value of a recipe as it is written, for the parser of the command line to read.

    YAML's own reading is not what people mean: `label_names: [yes, no]` are two words and not two booleans, 010 is not
    8, and 1:30 is not 90. Only the values of a mapping (`lr_scheduler_kwargs`) have the types that YAML gives them,
    since they have no flag that would.
    """
    if node.tag == NULL:
        return None
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [item_as_written(item) for item in node.value]
    return typed(node)


def item_as_written(node: yaml.Node) -> Any:
    """Return an item of a list as it is written; unlike a value of the recipe, a null is a word here."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    return typed(node)


def typed(node: yaml.Node) -> Any:
    """Return a value with the types that YAML gives it."""
    return yaml.safe_load(yaml.serialize(node, Dumper=yaml.SafeDumper))


def read_yaml(path: str | Path) -> yaml.Node | None:
    """Read what a YAML file holds, as it is written; None for an empty one.

    Raises:
        UserError: for what is not YAML, or larger than a recipe is, also by aliases that repeat each other.
    """
    if Path(path).stat().st_size > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES >> 20} MiB: it is not a recipe")
    try:
        text = Path(path).read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        check_size(path, node)
        # A number or a date that YAML cannot build is a ValueError.
        yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {describe_error(error)}") from error
    return node


def check_size(path: str | Path, node: yaml.Node | None) -> None:
    """Raise `UserError` for more values than a recipe has, each counted as often as an alias repeats it.

    Aliases of aliases fit in a few lines and would fill the memory when they are built.
    """
    waiting = [node]
    count = 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise UserError(
                f"{path} has more than {MOST_VALUES} values (aliases counted): it is not a recipe"
            )
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                waiting += [key, value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def check_known(names: Iterable[str], known: set[str], where: str) -> None:
    """Raise `UserError` for the first name that is not a flag, with the nearest one that is."""
    for name in names:
        if name not in known:
            raise UserError(f"unknown {where.format(name)}{did_you_mean(name, known)}")


def flag_names(argv: Sequence[str]) -> list[str]:
    """Return the flags on a command line: `['--max-steps', '3', '--fp16']` -> `['max_steps', 'fp16']`."""
    names = []
    for token in argv:
        if token.startswith("--"):
            flag, _, _ = token.removeprefix("--").partition("=")
            names.append(flag.replace("-", "_"))
    return names


def overridden(
    key: str,
    cli_names: Sequence[str],
    from_scratch: str = "none",
    recipes: str = "none",
) -> bool:
    """Tell whether the command line makes a recipe's key void.

    It does by naming the key, or by choosing the other kind of encoder: one flag is then enough.

    Args:
        key: of the recipe.
        cli_names: the flags on the command line.
        from_scratch: the command line's; `none` only switches a recipe's off and chooses nothing.
        recipes: the recipe's `from_scratch`. Its `config_overrides` are for such an encoder; those of a recipe without
            it are for any pretrained one.
    """
    if key == "model_name_or_path" and from_scratch != "none":
        return True
    if key in ("from_scratch", "embeddings_from") and "model_name_or_path" in cli_names:
        return True
    if key == "config_overrides":
        leaves_scratch = recipes != "none" and "model_name_or_path" in cli_names
        if from_scratch != "none" or leaves_scratch:
            return True
    return key in cli_names


def to_tokens(values: Mapping[str, Any]) -> list[str]:
    """Write values as tokens of a command line, so that all sources are typed and checked by the same parser."""
    tokens = []
    for key, value in values.items():
        items = value
        # An array, or the columns of a data frame.
        if hasattr(value, "tolist"):
            items = value.tolist()
        if key == "parameter_groups" and isinstance(items, Mapping):
            items = [f"{part}={rate}" for part, rate in items.items()]
        if not isinstance(items, (list, tuple)):
            items = [items]
        tokens.append(f"--{key}")
        tokens += [token_of(item) for item in items]
    return tokens


def token_of(value: Any) -> str:
    """Write one value as a token: mappings and booleans as JSON, which the flags that take them read."""
    if isinstance(value, (dict, bool)):
        return json.dumps(value)
    return str(value)
