"""Train a list or a grid of runs one after the other, and compare them with the first.

FILE is a YAML file (configs/sweeps/). Flags of train may follow it, for every run. Each run is a process of its own,
with its folder in output_dir. The same command again keeps finished runs, and goes on with one that was cut off.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.command_line import given_words
from trainer_ext.arguments.fields import option
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.errors import UserError


@dataclass(kw_only=True)
class SweepOptions(CommandOptions):
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

    sweep = read_sweep(options.file)
    # Of the flags of train only the folder is looked at here; the rest goes on to every run.
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output_dir", "--output-dir", default=sweep.output_dir)
    known, more = parser.parse_known_args(words[1:])
    if known.output_dir is None:
        raise UserError(f"output_dir is missing: neither {options.file} nor --output_dir names it")
    run_sweep(sweep, Path(known.output_dir), more)
