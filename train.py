"""Train an encoder: `python train.py RECIPE.yaml [--flag value ...]`; `python train.py --help` lists the flags.

Writes to --output_dir the best model, metrics.json, resolved_config.yaml, README.md (model card) and plots/.
With --do_train false it evaluates the checkpoint at --model_name_or_path (or in --output_dir) instead.

The same as `trainer-ext train`; the steps of a run are in trainer_ext/training/job.py.
"""

from functools import partial

from trainer_ext.cli.train import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="train.py"))
