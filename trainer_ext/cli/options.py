"""What every command shares: `--log_level`, and the way from a command line to options."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainer_ext.arguments.command_line import parse_command
from trainer_ext.arguments.fields import option
from trainer_ext.log import LEVELS, configure


@dataclass(kw_only=True)
class CommandOptions:
    """The flags of every command but `train`, where transformers has a `--log_level` of its own."""

    _argument_group_name = "general"

    log_level: str = option("info", "Minimum level of messages on standard error.", choices=LEVELS)


@dataclass(kw_only=True)
class FolderOptions(CommandOptions):
    """The flags of a command that works on a folder of folds or seeds."""

    _argument_group_name = "folder"

    folder: Path = option(
        help="Folder of folds or seeds that train wrote.", positional=True, metavar="FOLDER"
    )

    @property
    def recipe(self) -> str:
        """The recipe that made the folder."""
        return str(self.folder / "resolved_config.yaml")


Options = TypeVar("Options", bound=CommandOptions)


def read_options(
    options: type[Options],
    argv: Sequence[str] | None,
    prog: str,
    description: str | None,
) -> Options:
    """Parse the command line of a command, and log as it says.

    Args:
        options: the dataclass of its flags.
        argv: the words after the command; None: those of this process.
        prog: how the command was called.
        description: what it does, for `--help`; paragraphs are wrapped to the width of the screen.

    Raises:
        UserError: for an unknown flag, or a value that a flag does not take.
    """
    parsed = parse_command(options, argv, prog, description)
    # `run_main` has set the default; from here on it is as the user wants it.
    configure(parsed.log_level)
    return parsed
