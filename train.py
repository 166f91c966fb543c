"""Train an encoder: `python train.py RECIPE.yaml [--flag value ...]`. Every flag: `python train.py --help`.

Writes to --output_dir the best model, metrics.json, resolved_config.yaml, README.md (model card) and plots/.
With --do_train false it evaluates the checkpoint at --model_name_or_path (or in --output_dir) instead.
The steps of a run are in trainer_ext/training/job.py.
"""

import os
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # data loader workers fork

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
