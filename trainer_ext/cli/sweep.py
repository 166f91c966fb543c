"""Train a list or a grid of runs, one after the other or on a Ray cluster, and compare them with the first.

FILE is a YAML file (configs/sweeps/). Flags of train may follow it, for every run. Each run is a process of its own,
with its folder in output_dir. The same command again keeps finished runs, and goes on with one that was cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.command_line import Parser, build, given_words
from trainer_ext.arguments.fields import check_ranges, option
from trainer_ext.arguments.launch import LauncherArguments
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.errors import UserError
from trainer_ext.storage import is_url


@dataclass
class OwnFlags(LauncherArguments):
    """The flags behind the file that are the sweep's own."""

    _argument_group_name = "sweep"

    output_dir: str | None = option(None, "Folder of all runs; wins over the file's output_dir.")


@dataclass(kw_only=True)
class SweepOptions(CommandOptions, OwnFlags):
    """The flags of `sweep`; those of train follow."""

    _argument_group_name = "sweep"

    file: Path = option(
        help="YAML file of a sweep; flags of train behind it are for every run.",
        positional=True,
        metavar="FILE",
    )


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext sweep") -> None:
    """Read the file, train, compare."""
    words = given_words(argv)
    # What follows the file is train's, log_level too.
    options = read_options(SweepOptions, words[:1], prog, __doc__)
    from trainer_ext.comparison.sweep import run_sweep
    from trainer_ext.comparison.sweep_file import read_sweep
    from trainer_ext.modeling.session import use_available_cores

    sweep = read_sweep(options.file)
    # The rest goes on to every run.
    known, more = Parser([OwnFlags], prog=prog).parse_known_args(words[1:])
    own = build(OwnFlags, known)
    check_ranges(own)
    folder = own.output_dir or sweep.output_dir
    if folder is None:
        raise UserError(f"output_dir is missing: neither {options.file} nor --output_dir names it")
    if is_url(folder):
        raise UserError(f"output_dir {folder}: a sweep needs a folder, not a URL")
    # A run on a cluster has the threads that it would have here.
    use_available_cores()
    run_sweep(sweep, Path(folder), more, own)
