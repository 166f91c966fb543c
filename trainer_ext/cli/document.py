"""docs/flags.md, from the dataclasses of all commands: `python -m trainer_ext.cli.document` writes it anew."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer_ext.arguments import first_pass
from trainer_ext.arguments.fields import (
    TYPE_WORDS,
    Flag,
    default_of,
    flags_by_group,
    is_required,
    range_text,
)
from trainer_ext.arguments.files import FileOptions
from trainer_ext.arguments.help import default_text
from trainer_ext.cli.artifacts import SUBCOMMANDS
from trainer_ext.cli.augment import AugmentOptions
from trainer_ext.cli.balance import BalanceFlags
from trainer_ext.cli.commands import COMMANDS
from trainer_ext.cli.compare import CompareOptions
from trainer_ext.cli.export import ExportFlags
from trainer_ext.cli.frontier import FrontierOptions
from trainer_ext.cli.llm import LlmFlags
from trainer_ext.cli.options import CommandOptions, FolderOptions
from trainer_ext.cli.predict import PredictOptions
from trainer_ext.cli.report import ReportOptions
from trainer_ext.cli.serve import ServeOptions
from trainer_ext.cli.smp import SmpOptions
from trainer_ext.cli.sweep import SweepOptions
from trainer_ext.files import write_text

PATH = Path(__file__).resolve().parents[2] / "docs" / "flags.md"
OPTIONS: dict[str, Sequence[type]] = {
    "train": first_pass.GROUPS,
    "export": [ExportFlags],
    "predict": [PredictOptions],
    "serve": [ServeOptions],
    "compare": [CompareOptions],
    "sweep": [SweepOptions],
    "frontier": [FrontierOptions],
    "report": [ReportOptions],
    "augment": [AugmentOptions],
    "balance": [BalanceFlags],
    "llm": [LlmFlags],
    "soup": [FolderOptions],
    "submission": [FolderOptions],
    "smp": [SmpOptions],
}
# Described once; every command that has them links there.
SHARED = (FileOptions, CommandOptions)
TRAINER_PAGE = "https://huggingface.co/docs/transformers/main_classes/trainer"
INTRODUCTION = f"""\
# Flags

Written from the source by `python -m trainer_ext.cli.document`; `trainer-ext COMMAND --help` prints the same.

A flag may be written with dashes, too (`--max-length`). Flags of `train` may stand in its recipe under the same names;
the command line wins. `train` also takes every flag of
[`transformers.TrainingArguments`]({TRAINER_PAGE}#transformers.TrainingArguments), and `--debug`, with any command,
shows the traceback of an error.
"""
HEADER = "| flag | takes | default | what it does |\n|---|---|---|---|"


def document() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    # In the order of `trainer-ext --help`.
    for name, summary in COMMANDS.items():
        parts += [f"## {name}", summary]
        if name == "artifacts":
            for subcommand, command in SUBCOMMANDS.items():
                parts += [f"### artifacts {subcommand}", command.summary]
                parts += tables([command.options])
        else:
            parts += sections(OPTIONS[name])
    parts.append("## Flags of several commands")
    parts += sections(SHARED)
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def sections(groups: Sequence[type]) -> Iterator[str]:
    """Return a heading and a table for each subject, and a link instead of those that are described already."""
    for options in groups:
        for title, flags in flags_by_group(options).items():
            if is_shared(title) and options not in SHARED:
                yield f"It also takes the flags of [{title}](#{title.replace(' ', '-')})."
            else:
                yield f"### {title}"
                yield table_of(flags)


def tables(groups: Sequence[type]) -> Iterator[str]:
    """Return a table for each subject that is not described already."""
    for options in groups:
        for title, flags in flags_by_group(options).items():
            if not is_shared(title):
                yield table_of(flags)


def is_shared(title: str) -> bool:
    """Tell whether several commands have the flags of a subject."""
    return any(title in flags_by_group(group) for group in SHARED)


def table_of(flags: Sequence[Flag]) -> str:
    """Return a markdown table with a row for each flag."""
    return "\n".join([HEADER, *(row_of(flag) for flag in flags)])


def row_of(flag: Flag) -> str:
    """Return the row of a flag."""
    spec = flag.spec
    name = spec.metadata["metavar"] if flag.is_positional else f"--{spec.name}"
    default = "required" if is_required(spec) else default_word(default_of(spec))
    # A bar would end the cell.
    cells = [f"`{name}`", values_of(flag), default, flag.help]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def default_word(default: Any) -> str:
    """Return a default as one would type it; empty if there is none."""
    # --help leaves these out, which say that a flag is off; a table has room for them.
    if default is False:
        return "false"
    if default == 0:
        return str(default)
    return default_text(default)


def values_of(flag: Flag) -> str:
    """Return what a flag takes: its choices, or its type and range; `...` if it takes several."""
    words = TYPE_WORDS[flag.type.item]
    if flag.choices:
        words = " ".join(f"`{choice}`" for choice in flag.choices)
    if flag.type.many:
        words += " ..."
    stated = range_text(flag.spec)
    if not stated:
        return words
    return f"{words}, {stated}"


if __name__ == "__main__":
    write_text(PATH, document())
