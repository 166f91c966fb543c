"""Average the weights of the folds or seeds in a folder into one model, FOLDER/soup.

Greedy soup (Wortsman et al., arXiv:2203.05482): from the best model on, each next one is added to the mean if the
metric on the validation rows does not fall. `train --soup true` does it after training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.fields import option
from trainer_ext.cli.options import CommandOptions, read_options


@dataclass(kw_only=True)
class SoupOptions(CommandOptions):
    """The flags of `soup`."""

    _argument_group_name = "folder"

    folder: Path = option(
        help="Folder of folds or seeds that train wrote.", positional=True, metavar="FOLDER"
    )


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext soup") -> None:
    """Average one folder's models on the rows that its own recipe names."""
    options = read_options(SoupOptions, argv, prog, __doc__)
    # These load torch, which takes seconds.
    from trainer_ext.arguments.parser import parse
    from trainer_ext.cross_validation.soup import make_soup

    args = parse([str(options.folder / "resolved_config.yaml")])
    make_soup(args, options.folder)
