"""`python -m trainer_ext RECIPE.yaml [--flag value ...]`: train.py where only the package is installed."""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from trainer_ext.errors import run_main, said_once
from trainer_ext.parsing import parse
from trainer_ext.run import run


@said_once()
def main() -> None:
    """Parse, then train or evaluate."""
    run(parse())


if __name__ == "__main__":
    run_main(main)
