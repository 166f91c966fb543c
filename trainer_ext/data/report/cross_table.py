"""Tables of counts by two names, such as class and file, which the pictures and the tables of the report share.

Not a pandas frame: since pandas 3 its index cannot hold half a surrogate pair, which is how Python reads bytes of a
command line (--label_names, a file's name) that are not UTF-8.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np

Counts = Mapping[str, Mapping[str, int]]


class CrossTable(NamedTuple):
    """Counts, (rows, columns), and the names of both."""

    rows: list[str]
    columns: list[str]
    counts: np.ndarray


def cross_table(counts: Counts) -> CrossTable:
    """Arrange counts by column and row; rows are in the order in which they come up first."""
    rows = ordered_union(counts.values())
    arranged = np.zeros((len(rows), len(counts)), dtype=int)
    # Data of many classes have few of them in each file, so only counts that exist are gone through.
    place_of = {row: place for place, row in enumerate(rows)}
    for column, by_row in enumerate(counts.values()):
        for row, count in by_row.items():
            arranged[place_of[row], column] = count
    return CrossTable(rows, list(counts), arranged)


def ordered_union(groups: Iterable[Iterable[str]]) -> list[str]:
    """Return the items of all groups, each once, in the order in which they come up first."""
    return list(dict.fromkeys(chain.from_iterable(groups)))
