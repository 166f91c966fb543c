"""`python -m trainer_ext.data.augment`: the same as `trainer-ext augment`."""

from functools import partial

from trainer_ext.cli.augment import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="python -m trainer_ext.data.augment"))
