"""Predict the test rows of a recipe with all folds or seeds in its folder together.

Writes FOLDER/submission.csv (the id column and the label columns), and test_metrics.json if the rows are labelled.
`train --folds K --test_file FILE` does it after training.
"""

from collections.abc import Sequence

from trainer_ext.cli.options import FolderOptions, read_options


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext submission") -> None:
    """Predict the test rows that the folder's own recipe names."""
    options = read_options(FolderOptions, argv, prog, __doc__)
    # These load torch, which takes seconds.
    from trainer_ext.arguments.parser import parse
    from trainer_ext.cross_validation.submission import submit

    # The recipe may name another place, from which the folder was copied.
    args = parse([options.recipe, "--output_dir", str(options.folder)])
    submit(args, options.folder, options.folder)
