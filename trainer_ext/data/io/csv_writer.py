"""Write csv. A cell that a spreadsheet would run is written as it is, and a note says so.

A cell such as `=cmd|' /C calc'!A0` is plain text to every csv reader, this project's among them, and it comes back
unchanged only if nothing is put before it. Spreadsheets take it as a formula, so whoever opens the file in one has to
know.
"""

import csv
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TextIO

from trainer_ext.files import atomic_writer

logger = logging.getLogger(__name__)

# The way DDE, functions and references to other sheets begin; `-1`, `@name` and `- a dash` run nothing.
FORMULA = re.compile(r"[\t\r ]*[=+\-@].*[(|!]", re.DOTALL)

# What a writer knows of the rows before.
COUNTS = ("rows", "formulas", "first_formula")


class CsvWriter:
    """`csv.writer` that counts the cells which spreadsheets take as formulas.

    Args:
        file: opened with `newline=""`.
        path: named in the note.
        quote_text: whether every text is quoted, not only where it must be.
    """

    def __init__(self, file: TextIO, path: str, quote_text: bool = False):
        quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if quote_text else csv.QUOTE_MINIMAL
        self.path = path
        # The csv module ends lines with CRLF by default, which Unix tools show as a part of the last column.
        self.writer = csv.writer(file, lineterminator="\n", quoting=quoting)
        self.quoting_writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self.rows = 0
        self.formulas = 0
        self.first_formula = 0

    def writerow(self, cells: Iterable[Any]) -> None:
        """Write one row."""
        cells = list(cells)
        formulas = sum(map(is_formula, cells))
        if formulas and not self.formulas:
            self.first_formula = self.rows
        self.formulas += formulas
        self.rows += 1
        # Before Python 3.13 the csv module leaves a lone CR without quotes, and no reader gets past it.
        if any(isinstance(cell, str) and "\r" in cell for cell in cells):
            self.quoting_writer.writerow(cells)
        else:
            self.writer.writerow(cells)

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write many rows."""
        for row in rows:
            self.writerow(row)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write one row of values by column; the columns of the first record are the header."""
        if not self.rows:
            self.writerow(record)
        self.writerow(record.values())

    def counts(self) -> dict[str, int]:
        """Return what `restore` needs to go on as if one writer had written all rows."""
        return {name: getattr(self, name) for name in COUNTS}

    def restore(self, counts: Mapping[str, int]) -> None:
        """Take over the counts of a writer whose rows are in the file: the header is not written again."""
        for name in COUNTS:
            setattr(self, name, counts.get(name, 0))

    def note_formulas(self) -> None:
        """Log how many cells spreadsheets take as formulas, if any; rows count from the header, which is row 0."""
        if not self.formulas:
            return
        cells = "1 cell that spreadsheets take as a formula"
        if self.formulas > 1:
            cells = f"{self.formulas} cells that spreadsheets take as formulas"
        logger.info(
            "%s has %s (first in row %d); they are written as they are: import such columns as text",
            self.path,
            cells,
            self.first_formula,
        )


@contextmanager
def open_csv(path: str | os.PathLike, quote_text: bool = False) -> Iterator[CsvWriter]:
    """Open a csv file to write; it appears, and its note is logged, if the block ends without an error."""
    with atomic_writer(path, newline="") as file:
        writer = CsvWriter(file, os.fspath(path), quote_text)
        yield writer
    writer.note_formulas()


def is_formula(cell: Any) -> bool:
    """Return whether a spreadsheet would run a cell: a call, or a link to another program or sheet."""
    return isinstance(cell, str) and FORMULA.match(cell) is not None
