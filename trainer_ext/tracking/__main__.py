"""`python -m trainer_ext.tracking list|show|tag|push|gc`: the same as `trainer-ext artifacts`."""

from functools import partial

from trainer_ext.cli.artifacts import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="python -m trainer_ext.tracking"))
