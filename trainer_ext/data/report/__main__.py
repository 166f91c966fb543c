"""`python -m trainer_ext.data.report`: the same as `trainer-ext report`."""

from functools import partial

from trainer_ext.cli.report import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="python -m trainer_ext.data.report"))
