"""From a YAML recipe and a command line to `Arguments`, and back to a YAML that runs again."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from trainer_ext.arguments import (
    Arguments,
    DataArguments,
    FoldArguments,
    ModelArguments,
    ObjectiveArguments,
)
from trainer_ext.checks import check_arguments
from trainer_ext.errors import UserError, did_you_mean, near_choice
from trainer_ext.files import write_text
from trainer_ext.training_arguments import TrainingArguments

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


class Parser(HfArgumentParser):
    """`HfArgumentParser` whose errors are one `UserError` instead of pages of usage."""

    def error(self, message: str):
        """Called by argparse for a value it cannot take."""
        raise UserError(message + near_choice(message))


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Parse `[RECIPE.yaml] [--flag value ...]`; a flag on the command line wins over the recipe.

    Raises:
        UserError: for an unknown flag (naming the nearest), a value of the wrong type or a contradiction.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    return parse_tokens(read_recipe(recipe), argv, str(recipe))


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
    parser = Parser(GROUPS, allow_abbrev=False, description="Fine-tune an encoder. Flags may stand in a YAML recipe.")
    known = {action.dest for action in parser._actions}
    cli_names = flag_names(argv)
    check_known(cli_names, known, "flag --{}")
    check_known(recipe, known - {"help"}, f"key {{}} in {where}")
    from_scratch = parser.parse_known_args(argv)[0].from_scratch
    values = {key: value for key, value in recipe.items() if value is not None}
    kind = values.get("from_scratch", "none")
    values = {key: value for key, value in values.items() if not overridden(key, cli_names, from_scratch, kind)}
    tokens = to_tokens(values) + argv
    try:
        namespace, rest = parser.parse_known_args(tokens)
        model, data, objective, training, folds, *_ = parser.parse_args_into_dataclasses(
            tokens, return_remaining_strings=True, look_for_args_file=False
        )
    except (ValueError, TypeError, ImportError, OSError) as error:  # TrainingArguments checks itself with these
        text = re.sub(r"\b\w+Strategy\.(\w+)", lambda found: found[1].lower(), str(error))
        raise UserError(" ".join(text.split())) from error
    if rest:
        raise UserError(f"cannot place {' '.join(rest)!r} on the command line (the recipe comes first)")
    given = {name: getattr(namespace, name) for name in (*values, *cli_names)}
    args = Arguments(model, data, objective, training, folds, given)
    if "output_dir" not in given:
        raise UserError("no output_dir: say where the model goes with --output_dir")
    check_arguments(args)
    return args


def read_recipe(path: str | os.PathLike | None) -> dict[str, Any]:
    """The flat mapping in a YAML recipe; a key with the value null counts as left out; items of lists as written."""
    if path is None:
        return {}
    if not Path(path).is_file():
        raise UserError(f"recipe {path} does not exist")
    try:
        text = Path(path).read_text(encoding="utf-8")
        values, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path} must be a flat mapping of flag names to values")
    if len(node.value) > len(values):
        names = [key.value for key, _ in node.value]
        raise UserError(f"{path} gives {', '.join(sorted({n for n in names if names.count(n) > 1}))} more than once")
    for key, items in node.value:
        if isinstance(items, yaml.SequenceNode):  # label_names: [yes, no] are two words, not two booleans
            pairs = zip(items.value, values[key.value], strict=True)
            values[key.value] = [i.value if isinstance(i, yaml.ScalarNode) else value for i, value in pairs]
    return values


def check_known(names: Iterable[str], known: set[str], where: str) -> None:
    """Raise `UserError` for the first name that is no flag, with the nearest one that is."""
    for name in names:
        if name not in known:
            raise UserError(f"unknown {where.format(name)}{did_you_mean(name, known)}")


def flag_names(argv: Sequence[str]) -> list[str]:
    """The flags on a command line, without dashes: `['--max_steps', '3', '--fp16']` -> `['max_steps', 'fp16']`."""
    return [token[2:].split("=", 1)[0].replace("-", "_") for token in argv if token.startswith("--")]


def overridden(key: str, cli_names: Sequence[str], from_scratch: str = "none", recipes: str = "none") -> bool:
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
        tokens += [f"--{key}", *(json.dumps(v) if isinstance(v, (dict, bool)) else str(v) for v in items)]
    return tokens


def resolved(args: Arguments) -> dict[str, Any]:
    """The flags that differ from their default or were given, in an order fit to read; secrets left out."""
    values = {}
    for group in (args.data, args.folds, args.model, args.objective, args.training):
        for spec in fields(group):
            if not spec.init or spec.name in NOT_PART_OF_A_RECIPE or spec.name.endswith("_token"):
                continue
            value = getattr(group, spec.name)
            default = spec.default_factory() if spec.default_factory is not MISSING else spec.default
            if spec.name in args.given:  # as given: `report_to none` has become an empty list since
                values[spec.name] = plain(args.given[spec.name])
            elif value not in (None, default) and group is not args.training:
                values[spec.name] = value
    values.setdefault("learning_rate", args.training.learning_rate)
    values.setdefault("seed", args.training.seed)
    return values


def plain(value: Any) -> Any:
    """Enums as their value, also inside a list; everything else as it is."""
    return [plain(item) for item in value] if isinstance(value, list) else getattr(value, "value", value)


def write_resolved(args: Arguments, folder: Path) -> None:
    """Write `resolved_config.yaml`, which `train.py` runs again as it is."""
    text = yaml.safe_dump(resolved(args), allow_unicode=True, sort_keys=False)
    write_text(
        folder / "resolved_config.yaml",
        "# Every flag of the run that made this model: train.py runs it again.\n" + text,
    )
