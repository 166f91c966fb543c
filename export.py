"""Export: `python export.py MODEL_DIR --output_dir DIR [--eval_file FILE]`; `--help` says more.

The same as `trainer-ext export`; its steps are in trainer_ext/cli/export.py.
"""

from functools import partial

from trainer_ext.cli.export import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="export.py"))
