"""Writing csv. What a spreadsheet would run is written as it is, and said on the screen.

A cell such as `=cmd|' /C calc'!A0` is a text like others for every reader of csv, this project's among them, and comes
back unchanged only if nothing is put before it. Spreadsheets take it as a formula, so whoever opens the file in one has
to know.
"""

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

# As DDE, functions and references to other sheets begin; `-1`, `@name` and `- a dash` run nothing.
FORMULA = re.compile(r"[\t\r ]*[=+\-@].*[(|!]", re.DOTALL)


class CsvWriter:
    """`csv.writer` that remembers cells which spreadsheets take as formulas.

    Args:
        file: opened with `newline=""`.
        path: named in the note.
        quoting: as the csv module has it.
    """

    def __init__(self, file: TextIO, path: str, quoting: int = csv.QUOTE_MINIMAL):
        self.writer = csv.writer(file, lineterminator="\n", quoting=quoting)
        self.quoting_all = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self.path = path
        self.rows = self.formulas = self.first = 0

    def writerow(self, cells: Iterable[Any]) -> None:
        """Write one row."""
        cells = list(cells)
        found = sum(is_formula(cell) for cell in cells)
        if found and not self.formulas:
            self.first = self.rows
        self.formulas += found
        self.rows += 1
        bare = any(
            "\r" in cell for cell in cells if isinstance(cell, str)
        )  # csv before 3.13 leaves it without quotes
        (self.quoting_all if bare else self.writer).writerow(cells)

    def writerows(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write many."""
        for row in rows:
            self.writerow(row)

    def say(self) -> None:
        """The note on stderr, where there is something to say; the first row is the header, row 0."""
        if self.formulas:
            cells = (
                "1 cell that spreadsheets take as a formula"
                if self.formulas == 1
                else (f"{self.formulas} cells that spreadsheets take as formulas")
            )
            print(
                f"note: {self.path} has {cells} (first in row {self.first}); they are written as they are: import "
                "such columns as text",
                file=sys.stderr,
            )


def is_formula(cell: Any) -> bool:
    """Whether a spreadsheet would run a cell: a call, a link to another program or sheet."""
    return isinstance(cell, str) and FORMULA.match(cell) is not None
