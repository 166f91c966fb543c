"""The parser of train.py's flags: transformers' `HfArgumentParser`, whose errors and help can be read."""

import argparse
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from trainer_ext.arguments.groups import OFF_WORDS
from trainer_ext.errors import UserError, near_choice

USAGE = "train.py [RECIPE.yaml] [--flag value ...]"
DESCRIPTION = "Fine-tune an encoder. A flag may stand in the recipe, too; the command line wins."
LONGEST_HELP = 160  # characters; transformers explains some flags at length
METAVARS = {int: "N", float: "X", str: "TEXT"}


def load_parser_class() -> type[argparse.ArgumentParser]:
    """`HfArgumentParser` from its file, which needs nothing else of transformers: importing that loads torch."""
    try:
        path = importlib.metadata.distribution("transformers").locate_file(
            "transformers/hf_argparser.py"
        )
        spec = importlib.util.spec_from_file_location("trainer_ext._hf_argparser", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module.HfArgumentParser
    except (ImportError, OSError):  # installed in another form, or one day the file needs more
        from transformers import HfArgumentParser

        return HfArgumentParser


HfArgumentParser = load_parser_class()
string_to_bool = sys.modules[HfArgumentParser.__module__].string_to_bool


class Help(argparse.HelpFormatter):
    """A line or two a flag: its name in one spelling, what it takes, and a default that says something."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34, width=120)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        spelt = action.option_strings[0] if action.dest != "help" else "-h, --help"
        return f"{spelt} {self._format_args(action, action.dest)}".rstrip()

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.dest == "help" or action.default in (None, False, 0, "", [], argparse.SUPPRESS):
            return action.help or ""
        default = action.default if isinstance(action.default, list) else [action.default]
        words = [str(getattr(value, "value", value)) for value in default]
        return f"{action.help or ''} (default: {' '.join(words)})".replace("True)", "true)")


class Parser(HfArgumentParser):
    """For dataclasses of flags; errors are one `UserError`, and words that switch something off are understood.

    `no`, `off`, `false` and `none` mean the choice that is called `no` or `none`: YAML reads `save_strategy: no` as
    false, and people write either.
    """

    def __init__(self, groups: Sequence[type], others: Sequence[dict[str, Any]] = ()):
        """`others`: flags that are in no dataclass here, as `argparse` takes them, their names under `spelt`."""
        super().__init__(groups, prog="train.py", usage=USAGE, description=DESCRIPTION, allow_abbrev=False,
                         formatter_class=Help, epilog="--debug shows the traceback of an error.")  # fmt: skip
        group = self.add_argument_group("of transformers.TrainingArguments") if others else self
        for flag in others:
            group.add_argument(
                *flag["spelt"], **{key: value for key, value in flag.items() if key != "spelt"}
            )
        self.read_words()

    def read_words(self) -> None:
        """Let every flag take the words for off and on that people use."""
        for action in self._actions:
            choices = [str(getattr(choice, "value", choice)) for choice in action.choices or ()]
            off = next((word for word in ("no", "none") if word in choices), None)
            off = "none" if action.dest == "report_to" else off
            if action.type is string_to_bool:
                action.type = read_boolean
            elif off and "false" not in choices:
                action.type = partial(
                    read_choice, read=action.type or str, choices=choices, off=off
                )
            action.metavar = metavar(action)

    def error(self, message: str):
        """Called by argparse for a value it cannot take."""
        raise UserError(message + near_choice(message))


def read_boolean(text: Any) -> bool:
    """transformers knows yes and no, but not on and off, which are YAML's."""
    return string_to_bool({"on": "true", "off": "false"}.get(str(text).lower(), text))


def read_choice(text: Any, read: Callable[[Any], Any], choices: Sequence[str], off: str) -> Any:
    """A choice by its name; a word for off as the choice that is."""
    return read(off if text not in choices and str(text).lower() in OFF_WORDS else text)


def check_rest(rest: Sequence[str]) -> None:
    """Raise `UserError` for words that belong to no flag."""
    if rest:
        raise UserError(
            f"cannot place {' '.join(rest)!r} on the command line (the recipe comes first)"
        )


def check_output_dir(given: Sequence[str]) -> None:
    """Raise `UserError` unless the output folder was named: transformers' default is not taken in silence."""
    if "output_dir" not in given:
        raise UserError("no output_dir: say where the model goes with --output_dir")


def metavar(action: argparse.Action) -> str:
    """What a flag takes, in a word."""
    choices = ",".join(str(getattr(choice, "value", choice)) for choice in action.choices or ())
    if choices:
        return f"{{{choices}}}" if len(choices) <= 100 else "NAME"
    return "true|false" if action.type is read_boolean else METAVARS.get(action.type, "TEXT")


def shorten(text: str) -> str:
    """The first sentence of a long help text, on one line."""
    line = " ".join(text.replace("`", "").replace("%%", "%").replace("%", "%%").split())
    if len(line) <= LONGEST_HELP:
        return line
    first = re.split(r"\.(?= [A-Z])", line)[0]
    return (
        first if len(first) <= LONGEST_HELP else line[: LONGEST_HELP - 4].rsplit(" ", 1)[0] + " ..."
    )
