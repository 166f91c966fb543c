"""`python -m trainer_ext.data.balance`: the same as `trainer-ext balance`."""

from functools import partial

from trainer_ext.cli.balance import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="python -m trainer_ext.data.balance"))
