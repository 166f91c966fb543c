"""`python -m trainer_ext.data.balance`: write a balanced file of training rows."""

from trainer_ext.data.sampling.balance import main
from trainer_ext.errors import run_main

if __name__ == "__main__":
    run_main(main)
