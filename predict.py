"""Predict: `python predict.py --model M (--text "..." ... | --input FILE) [--output FILE]`; `--help` says more.

The same as `trainer-ext predict`; its steps are in trainer_ext/cli/predict.py.
"""

from functools import partial

from trainer_ext.cli.predict import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="predict.py"))
