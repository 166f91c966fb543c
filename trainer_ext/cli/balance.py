"""Write a balanced file of training rows.

The output holds rows of the input in their order, a row that is repeated with its copies right behind it. Every row
names its source in `source_id` (its id, or its number in the file, which becomes its `id` if rows have none); copies
have an id of their own and the `operation` copy.

Give it training rows only. `train --balance` does the same without a file, with other copies in each epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.data.io.row_writer import check_paths
from trainer_ext.data.sampling.balance import BalanceOptions, balance_file
from trainer_ext.tasks import TASKS


@dataclass(kw_only=True)
class BalanceFlags(BalanceOptions, CommandOptions):
    """The flags of `balance`."""


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext balance") -> None:
    """Balance one file."""
    flags = read_options(BalanceFlags, argv, prog, __doc__)
    check(flags)
    print(balance_file(flags))


def check(flags: BalanceFlags) -> None:
    """Refuse contradictions before anything is read."""
    check_paths(flags.input, flags.output)
    TASKS[flags.task].check_columns(flags.label_columns)
