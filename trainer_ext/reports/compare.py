"""`python -m trainer_ext.reports.compare RUN ...`: the same as `trainer-ext compare`."""

from functools import partial

from trainer_ext.cli.compare import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="python -m trainer_ext.reports.compare"))
