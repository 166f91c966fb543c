"""The one parser of all commands: dataclasses of flags in, checked instances out.

Imports nothing heavy: a wrong flag is refused before any framework is loaded.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, NoReturn, TypeVar

from trainer_ext.arguments.fields import Flag, check_ranges, default_of, flags_by_group, is_required
from trainer_ext.arguments.help import Help, choices_of, help_text, metavar, usage_of
from trainer_ext.errors import UserError, did_you_mean
from trainer_ext.synonyms import other_name

Options = TypeVar("Options")

EPILOG = "--debug, with any command, shows the traceback of an error."
OFF_WORDS = ("none", "no", "off", "false")  # how people switch something off, in YAML and elsewhere
TRUE_WORDS = ("yes", "true", "t", "y", "1", "on")
FALSE_WORDS = ("no", "false", "f", "n", "0", "off")


def parse_command(
    options: type[Options],
    argv: Sequence[str] | None = None,
    prog: str | None = None,
    description: str | None = None,
) -> Options:
    """Parse a command line into a dataclass of flags.

    Args:
        options: the dataclass.
        argv: the words after the command; None: those of this process.
        prog: how the command was called, for `--help`.
        description: what the command does, for `--help`.

    Raises:
        UserError: for an unknown flag (naming the nearest), a value of the wrong type or out of its range.
        SystemExit: after `--help` was printed.
    """
    parser = Parser([options], prog=prog, description=description)
    instance = build(options, parser.parse_args(argv))
    check_ranges(instance)
    return instance


def build(options: type[Options], namespace: argparse.Namespace) -> Options:
    """Make a dataclass of flags from a namespace that holds them, and perhaps others."""
    names = [spec.name for spec in fields(options) if spec.init]  # type: ignore[arg-type]  # a dataclass
    return options(**{name: getattr(namespace, name) for name in names})


class Parser(argparse.ArgumentParser):
    """Take flags from dataclasses; an error is one `UserError` that names the nearest flag or choice.

    `no`, `off`, `false` and `none` mean the choice that is called `no` or `none`: YAML reads `save_strategy: no` as
    false, and people write either.
    """

    def __init__(
        self,
        groups: Sequence[type],
        others: Sequence[dict[str, Any]] = (),
        prog: str | None = None,
        usage: str | None = None,
        description: str | None = None,
    ):
        """Add the flags of each dataclass.

        Args:
            groups: dataclasses of flags.
            others: flags that are in no dataclass here, as `argparse` takes them, their names under `spelt`.
            prog: how the command was called.
            usage: the line after `usage:`; None: the command with what it requires.
            description: what the command does.
        """
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=EPILOG,
            allow_abbrev=False,
            formatter_class=Help,
        )
        self.tokens: list[str] = []
        for options in groups:
            self.add_options(options)
        if others:
            group = self.add_argument_group("transformers.TrainingArguments")
            for flag in others:
                keywords = {key: value for key, value in flag.items() if key != "spelt"}
                group.add_argument(*flag["spelt"], **keywords)
        for action in self._actions:
            finish_action(action)
        if usage is None:
            self.usage = usage_of(self.prog, self._actions)

    def add_options(self, options: type) -> None:
        """Add the flags of a dataclass, by subject."""
        for title, flags in flags_by_group(options).items():
            group = self.add_argument_group(title)
            for flag in flags:
                group.add_argument(*spellings(flag), **argparse_keywords(flag))

    def parse_known_args(  # type: ignore[override]  # the overloads for a namespace of one's own are not used
        self,
        args: Sequence[str] | None = None,
        namespace: Any = None,
    ) -> tuple[Any, list[str]]:
        """Remember what was given, which `error` looks through."""
        self.tokens = given_words(args)
        if self._get_positional_actions():
            self.tokens = self.close_switches(self.tokens)
        return super().parse_known_args(self.tokens, namespace)

    def close_switches(self, tokens: Sequence[str]) -> list[str]:
        """Write `--benchmark FOLDER` as `--benchmark=true FOLDER`.

        A switch may have a value (`--benchmark false`), so argparse would read the folder as one.
        """
        switches: set[str] = set()
        for action in self._actions:
            if action.type is read_boolean:
                switches.update(action.option_strings)
        closed: list[str] = []
        for token in tokens:
            follows_switch = bool(closed) and closed[-1] in switches
            if follows_switch and token.lower() in (*TRUE_WORDS, *FALSE_WORDS):
                closed[-1] += f"={token}"
            else:
                closed.append(token)
        return [f"{token}=true" if token in switches else token for token in closed]

    def error(self, message: str) -> NoReturn:
        """Turn what argparse cannot take into a `UserError`."""
        # argparse names both spellings of a flag, with underscores and with dashes; one is enough.
        message = re.sub(r"(--\w+)/--[\w-]+", r"\1", message)
        if "arguments are required" in message:
            misspelt = self.first_unknown()
            if misspelt:
                # What is missing may well be what was misspelt.
                message = f"unrecognized arguments: {misspelt}"
        raise UserError(f"{message}{self.hint(message)} (--help lists the flags)")

    def first_unknown(self) -> str | None:
        """Return the first flag given that does not exist, or None."""
        known = self.flag_names()
        for token in self.tokens:
            name = token.split("=")[0]
            if name.startswith("--") and name != "--" and name not in known:
                return name
        return None

    def flag_names(self) -> list[str]:
        """Return every spelling of every flag."""
        return [name for action in self._actions for name in action.option_strings]

    def hint(self, message: str) -> str:
        """Say what may have been meant: a flag spelt otherwise, or a value that goes with or without one."""
        unknown = "unrecognized arguments" in message
        word = message.rpartition("arguments: ")[2].split(" ")[0].split("=")[0]
        name = word.lstrip("-")
        for action in self._get_positional_actions():
            positional = action.dest
            names_it = unknown and positional in (name, other_name(name, {positional}))
            if names_it or f"required: {action.metavar}" in message:
                return f"; {positional} stands without a flag, as the first argument"
        if "required: --model" in message or (unknown and not word.startswith("-")):
            model = ", the model too: --model FOLDER" if "--model" in self.flag_names() else ""
            return f"; every value has its flag{model}"
        if unknown:
            return did_you_mean(word, self.flag_names())
        return near_choice(message)


def given_words(argv: Sequence[str] | None) -> list[str]:
    """Return the words after a command; those of this process if none are given."""
    if argv is None:
        return sys.argv[1:]
    return list(argv)


def spellings(flag: Flag) -> list[str]:
    """Return how a flag may be written: with underscores, or with dashes."""
    name = flag.spec.name
    if flag.is_positional:
        return [name]
    if "_" not in name:
        return [f"--{name}"]
    return [f"--{name}", f"--{name.replace('_', '-')}"]


def argparse_keywords(flag: Flag) -> dict[str, Any]:
    """Return what `argparse` takes for a flag."""
    keywords: dict[str, Any] = {"type": flag.type.item, "help": help_text(flag)}
    if flag.type.item is bool:
        # `--fp16` and `--fp16 true` are the same.
        keywords |= {"type": read_boolean, "nargs": "?", "const": True}
    elif flag.type.many and "action" not in flag.spec.metadata:
        keywords["nargs"] = "+"
    if flag.is_positional:
        keywords["metavar"] = flag.spec.name
        if not is_required(flag.spec):
            keywords.setdefault("nargs", "?")
    elif is_required(flag.spec):
        keywords["required"] = True
    if not is_required(flag.spec):
        keywords["default"] = default_of(flag.spec)
    for key in ("choices", "nargs", "action", "metavar"):
        if key in flag.spec.metadata:
            keywords[key] = flag.spec.metadata[key]
    return keywords


def finish_action(action: argparse.Action) -> None:
    """Let a flag take the words for off that people use, and give it a word for what it takes."""
    if action.type is read_boolean:
        action.metavar = "true|false"
        return
    action.metavar = metavar(action)
    choices = choices_of(action.choices)
    off = next((word for word in ("no", "none") if word in choices), None)
    if action.dest == "report_to":
        # Its choices are known to transformers only.
        off = "none"
    if off and "false" not in choices:
        read = action.type if callable(action.type) else str
        action.type = partial(read_choice, read=read, choices=choices, off=off)


def read_boolean(text: str) -> bool:
    """Read a word for yes or no.

    Raises:
        argparse.ArgumentTypeError: for any other word.
    """
    word = str(text).lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def read_choice(text: Any, read: Callable[[Any], Any], choices: Sequence[str], off: str) -> Any:
    """Read a choice by its name, and a word for off as the choice that switches off."""
    if text not in choices and str(text).lower() in OFF_WORDS:
        return read(off)
    return read(text)


def near_choice(message: str) -> str:
    """Return `"; did you mean 'fgm'?"` for argparse's message about an invalid choice, or an empty string."""
    found = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
    if not found:
        return ""
    return did_you_mean(found[1], re.findall(r"[^\s,']+", found[2]))


def check_rest(rest: Sequence[str]) -> None:
    """Raise `UserError` for words that belong to no flag."""
    if rest:
        raise UserError(
            f"cannot place {' '.join(rest)!r} on the command line (the recipe comes first)"
        )


def check_output_dir(given: Sequence[str]) -> None:
    """Raise `UserError` unless the output folder was named: transformers' default is not taken in silence."""
    if "output_dir" not in given:
        raise UserError("output_dir is missing: give a folder for the model with --output_dir")
