"""Serve: `python serve.py --model M [--model NAME=M2 ...]`; `--help` says more.

The same as `trainer-ext serve`; its steps are in trainer_ext/cli/serve.py.
"""

from functools import partial

from trainer_ext.cli.serve import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="serve.py"))
