"""`python -m trainer_ext.data.llm`: the same as `trainer-ext llm`."""

from functools import partial

from trainer_ext.cli.llm import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(partial(main, prog="python -m trainer_ext.data.llm"))
