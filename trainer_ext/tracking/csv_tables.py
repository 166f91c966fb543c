"""Csv files as tables of W&B."""

import csv
import math
import re
from itertools import islice
from pathlib import Path
from typing import Any

from trainer_ext.tracking.media import distinct

MOST_ROWS = 10_000
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
MOST_DIGITS = 17  # as many as a float keeps, and Python writes


def table_of(path: Path, most: int = MOST_ROWS) -> Any:
    """Return the first rows of a csv file as a table of W&B."""
    import wandb

    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = islice(csv.reader(file), most + 1)
    return wandb.Table(columns=distinct(header), data=typed(rows))


def typed(rows: list[list[str]]) -> list[list[Any]]:
    """Return cells of a csv file as W&B's tables take them, one type a column: numbers if every cell is one, else text.

    A number is what JSON writes as one and keeps as it is: ids such as `007` or of twenty digits stay text.
    """
    columns: list[list[Any]] = []
    for cells in zip(*rows, strict=True):
        numbers = [as_number(cell) for cell in cells]
        # W&B refuses a table with two types in a column.
        columns.append(list(cells) if None in numbers else numbers)
    return [list(row) for row in zip(*columns, strict=True)]


def as_number(cell: str) -> float | None:
    """Return a cell as a number; None if it is not one, or would not be written again as it is."""
    if not NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    mantissa = re.split("[eE]", cell)[0]
    digits = re.sub(r"\D", "", mantissa).lstrip("0")
    if not math.isfinite(value) or len(digits) > MOST_DIGITS:
        return None
    return value
