"""Rows of data back into a file, every column as it was read: jsonl, or csv by the ending."""

import csv
from typing import Any, TextIO

from trainer_ext.data.io.answers import check_not_read, check_output
from trainer_ext.data.io.csv_writer import CsvWriter
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, json_text


def check_paths(source: str, output: str) -> None:
    """Raise `UserError` unless `output` has an ending that can be written and is not the file that is read."""
    if output == "-":
        raise UserError("--output -: the rows go into a file; name one that ends in .jsonl or .csv")
    check_output(output)
    if source == "-":
        raise UserError(
            "--input -: rows are read more than once, which standard input cannot be; give a file"
        )
    check_not_read(output, source)


def open_rows(path: str):
    """`atomic_writer` with the line ends that `RowWriter` wants."""
    return atomic_writer(path, newline="" if path.lower().endswith(".csv") else None)


class RowWriter:
    """Writes rows into an open file.

    In csv the columns are those of the first row, then `extra`; what a row lacks is empty, lists and numbers are JSON.
    """

    def __init__(self, file: TextIO, path: str, extra: tuple[str, ...] = ()):
        self.file, self.path, self.extra = file, path, extra
        self.as_csv = path.lower().endswith(".csv")
        self.columns: dict[str, None] = {}
        # Text is always quoted: csv modules before Python 3.13 leave a lone CR bare, which no reader gets past.
        self.writer = CsvWriter(file, path, csv.QUOTE_NONNUMERIC)

    def write(self, values: dict[str, Any]) -> None:
        """Write one row.

        Raises:
            UserError: for a column that the header of a csv file does not have.
        """
        if not self.as_csv:
            self.file.write(json_text(values, default=str) + "\n")
            return
        if not self.columns:
            self.columns = dict.fromkeys([*values, *self.extra])
            self.writer.writerow(self.columns)
        unknown = [column for column in values if column not in self.columns]
        if unknown:
            raise UserError(
                f"{self.path}: a row has a column {unknown[0]!r} that the first row lacks; write .jsonl"
            )
        self.writer.writerow([cell(values.get(column, "")) for column in self.columns])

    def say(self) -> None:
        """What a reader of the file has to know, on stderr."""
        self.writer.say()


def cell(value: Any) -> Any:
    """A value as a field of csv."""
    if value is None:
        return ""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json_text(value, default=str)
