"""Predict the test rows of a recipe with all folds or seeds in its folder together.

Writes FOLDER/submission.csv (the id column and the label columns), and test_metrics.json if the rows are labelled.
`train --folds K --test_file FILE` does it after training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.fields import option
from trainer_ext.cli.options import CommandOptions, read_options


@dataclass(kw_only=True)
class SubmissionOptions(CommandOptions):
    """The flags of `submission`."""

    _argument_group_name = "folder"

    folder: Path = option(
        help="Folder of folds or seeds that train wrote.", positional=True, metavar="FOLDER"
    )


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext submission") -> None:
    """Predict the test rows that the folder's own recipe names."""
    options = read_options(SubmissionOptions, argv, prog, __doc__)
    # These load torch, which takes seconds.
    from trainer_ext.arguments.parser import parse
    from trainer_ext.cross_validation.submission import submit

    args = parse([str(options.folder / "resolved_config.yaml")])
    submit(args, options.folder, options.folder)
