"""Average the weights of the folds or seeds in a folder into one model, FOLDER/soup.

Greedy soup (Wortsman et al., arXiv:2203.05482): from the best model on, each next one is added to the mean if the
metric on the validation rows does not fall. `train --soup true` does it after training.
"""

from collections.abc import Sequence

from trainer_ext.cli.options import FolderOptions, read_options


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext soup") -> None:
    """Average one folder's models on the rows that its own recipe names."""
    options = read_options(FolderOptions, argv, prog, __doc__)
    # These load torch, which takes seconds.
    from trainer_ext.arguments.parser import parse
    from trainer_ext.cross_validation.soup import make_soup

    # The recipe may name another place, from which the folder was copied.
    args = parse([options.recipe, "--output_dir", str(options.folder)])
    make_soup(args, options.folder)
