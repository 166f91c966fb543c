"""A command with subcommands: which one is meant, and a list of them for `--help`."""

import sys
import textwrap
from collections.abc import Mapping, Sequence

from trainer_ext.arguments.command_line import EPILOG, given_words
from trainer_ext.arguments.help import WIDTH
from trainer_ext.errors import UserError, did_you_mean


def choose_command(
    argv: Sequence[str] | None,
    summaries: Mapping[str, str],
    prog: str,
    description: str,
) -> tuple[str, list[str]]:
    """Split a command line into the name of a subcommand and the words after it.

    Args:
        argv: the words after the command; None: those of this process.
        summaries: a line about each subcommand, by name.
        prog: how the command was called.
        description: what its subcommands have in common.

    Raises:
        UserError: for no subcommand, or for one that does not exist (naming the nearest).
        SystemExit: after `--help` was printed.
    """
    words = given_words(argv)
    expected = f"expected one of {', '.join(summaries)}"
    if not words:
        raise UserError(f"{prog}: no command was given; {expected} ({prog} --help)")
    if words[0] in ("-h", "--help"):
        print(overview(summaries, prog, description))
        sys.exit(0)
    if words[0] not in summaries:
        near = did_you_mean(words[0], summaries)
        raise UserError(f"{prog}: {words[0]!r} is not a command{near}; {expected}")
    return words[0], words[1:]


def overview(summaries: Mapping[str, str], prog: str, description: str) -> str:
    """List the subcommands, with what each of them does."""
    column = max(len(name) for name in summaries) + 4
    lines = []
    for name, summary in summaries.items():
        beginning = f"  {name}".ljust(column)
        lines.append(
            textwrap.fill(summary, WIDTH, initial_indent=beginning, subsequent_indent=" " * column)
        )
    parts = [
        f"usage: {prog} COMMAND [--flag value ...]",
        textwrap.fill(description, WIDTH),
        "\n".join(lines),
        f"{prog} COMMAND --help lists the flags of a command.\n{EPILOG}",
    ]
    return "\n\n".join(parts)
