"""How `--help` prints a flag: its name in one spelling, what it takes, and a default that says something."""

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer_ext.arguments.fields import Flag, default_of, range_text

WIDTH = 80  # columns of a terminal that nobody has widened
NAME_COLUMNS = 28
LONGEST_CHOICES = 40  # characters; longer lists go into the help text, where they can be wrapped
LONGEST_HELP = 160  # characters; transformers explains some flags at length
METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


class Help(argparse.HelpFormatter):
    """Print help in 80 columns."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=NAME_COLUMNS, width=WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return str(action.metavar)
        if action.dest == "help":
            return "-h, --help"
        return f"{action.option_strings[0]} {self._format_args(action, action.dest)}".rstrip()

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        # argparse prints lists as `TEXT [TEXT ...]`; once is enough.
        if action.nargs in ("+", "*"):
            return f"{action.metavar} ..."
        return super()._format_args(action, default_metavar)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # Keep the paragraphs of a description, which argparse would run together.
        paragraphs = []
        for paragraph in text.split("\n\n"):
            paragraphs.append(textwrap.fill(" ".join(paragraph.split()), width))
        return "\n\n".join(paragraphs)


def default_text(default: Any) -> str:
    """Return a default as one would type it; empty if it only says that a flag is off."""
    # Most flags are off, which their help says in its own words: 160 times `(default: None)` would hide the others.
    if default in (None, False, 0, "", [], argparse.SUPPRESS):
        return ""
    if default is True:
        return "true"
    values = default if isinstance(default, list) else [default]
    return " ".join(str(getattr(value, "value", value)) for value in values)


def help_text(flag: Flag) -> str:
    """Return the help of a flag with its range, its default, and choices too long to stand beside its name."""
    notes = []
    if len(",".join(flag.choices)) > LONGEST_CHOICES:
        notes.append("one of " + ", ".join(flag.choices))
    stated = range_text(flag.spec)
    if stated:
        notes.append(stated)
    return with_notes(flag.help, notes, default_of(flag.spec))


def with_notes(text: str, notes: Sequence[str], default: Any) -> str:
    """Put notes and a default in parentheses behind a help text: `Dropout (at least 0; default: 0.1).`"""
    shown = default_text(default)
    if shown:
        notes = [*notes, f"default: {shown}"]
    if notes:
        text = f"{text.rstrip('.')} ({'; '.join(notes)})."
    # argparse formats help texts with %.
    return text.replace("%", "%%")


def metavar(action: argparse.Action) -> str:
    """Return what a flag takes, in a word."""
    if isinstance(action.metavar, str):
        return action.metavar
    choices = ",".join(choices_of(action.choices))
    if len(choices) > LONGEST_CHOICES:
        return "NAME"
    if choices:
        return f"{{{choices}}}"
    for kind, word in METAVARS.items():
        if action.type is kind:
            return word
    return "TEXT"


def choices_of(choices: Any) -> list[str]:
    """Return choices as words: enums by their value."""
    return [str(getattr(choice, "value", choice)) for choice in choices or ()]


def usage_of(prog: str, actions: Sequence[argparse.Action]) -> str:
    """Return a usage that names what must be given, not every flag there is."""
    words = [prog]
    for action in actions:
        if not action.option_strings:
            words.append(f"{action.metavar} ..." if action.nargs == "+" else str(action.metavar))
        elif action.required:
            words.append(f"{action.option_strings[0]} {action.metavar}")
    words.append("[--flag value ...]")
    return textwrap.fill(" ".join(words), WIDTH - len("usage: "), subsequent_indent=" " * 4)


def shorten(text: str) -> str:
    """Return the first sentence of a long help text, on one line."""
    line = " ".join(text.replace("`", "").replace("%%", "%").split())
    if len(line) <= LONGEST_HELP:
        return line
    first = re.split(r"\.(?= [A-Z])", line)[0]
    if len(first) <= LONGEST_HELP:
        return first
    return line[: LONGEST_HELP - 4].rsplit(" ", 1)[0] + " ..."
