"""Compare finished runs with the first of them: scores, what differs in their flags, and whether it can be chance.

A RUN is a folder that train wrote: one model, or folds or seeds, which are compared as one. The runs must have been
validated on the same rows, which are matched by their content.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.fields import option
from trainer_ext.cli.options import CommandOptions, read_options


@dataclass(kw_only=True)
class CompareOptions(CommandOptions):
    """The flags of `compare`."""

    _argument_group_name = "compare"

    runs: list[Path] = option(
        help="Folders of runs; the first is what the others are compared with.",
        positional=True,
        metavar="RUN",
    )
    output: list[Path] = option(
        [], "Files to write the comparison to; by their ending .csv, .md or .png.", metavar="FILE"
    )


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext compare") -> None:
    """Read, test, print, write."""
    options = read_options(CompareOptions, argv, prog, __doc__)
    # It loads what tests and draws.
    from trainer_ext.comparison.job import compare

    compare(options.runs, options.output)
