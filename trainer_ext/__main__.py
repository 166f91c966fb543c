"""`python -m trainer_ext RECIPE.yaml [--flag value ...]`: train.py where only the package is installed."""

import os
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from trainer_ext.arguments.first_pass import refuse_wrong_flags
from trainer_ext.errors import run_main, said_once


@said_once()
def main() -> None:
    """Parse, then train or evaluate."""
    refuse_wrong_flags(sys.argv[1:])
    from trainer_ext.arguments.parser import parse  # loads torch, which takes seconds
    from trainer_ext.cli.train import run

    run(parse())


if __name__ == "__main__":
    run_main(main)
