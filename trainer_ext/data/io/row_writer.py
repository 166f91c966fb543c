"""Write rows of data back into a file, every column as it was read: jsonl, or csv by the file's ending."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from trainer_ext.data.io.answers import check_not_read, check_output
from trainer_ext.data.io.csv_writer import CsvWriter, open_csv
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, json_text


class RowWriter(Protocol):
    """Writes one row after another into an open file."""

    def write(self, values: Mapping[str, Any]) -> None:
        """Write one row, values by column."""


def check_paths(source: str, output: str) -> None:
    """Check that `output` can be written, and is not the file that is read.

    Raises:
        UserError: naming the flag and the file, otherwise.
    """
    if output == "-":
        raise UserError("--output -: the rows go into a file; name one that ends in .jsonl or .csv")
    check_output(output)
    if source == "-":
        raise UserError(
            "--input -: rows are read more than once, which standard input cannot be; give a file"
        )
    check_not_read(output, source)


@contextmanager
def open_rows(path: str, extra: tuple[str, ...] = ()) -> Iterator[RowWriter]:
    """Open a file to write rows; it appears if the block ends without an error.

    Args:
        path: ends in `.csv`, or the rows are written as jsonl.
        extra: columns that a csv file has behind those of the first row.
    """
    if path.lower().endswith(".csv"):
        with open_csv(path, quote_text=True) as writer:
            yield CsvRows(writer, extra)
    else:
        with atomic_writer(path) as file:
            yield JsonRows(file)


class JsonRows:
    """Rows as JSON objects, one a line."""

    def __init__(self, file: TextIO):
        self.file = file

    def write(self, values: Mapping[str, Any]) -> None:
        """Write one row."""
        self.file.write(json_text(values, default=str) + "\n")


class CsvRows:
    """Rows of csv, whose columns are those of the first row, then `extra`; a value that a row lacks is empty."""

    def __init__(self, writer: CsvWriter, extra: tuple[str, ...]):
        self.writer = writer
        self.extra = extra
        # Not a list: a header of 100,000 columns is looked up for every value.
        self.columns: dict[str, None] = {}

    def write(self, values: Mapping[str, Any]) -> None:
        """Write one row.

        Raises:
            UserError: for a column that the header does not have.
        """
        # Rows stream, so that the first one has to say what the header is.
        if not self.columns:
            self.columns = dict.fromkeys([*values, *self.extra])
        for column in values:
            if column not in self.columns:
                raise UserError(
                    f"{self.writer.path}: a row has a column {column!r} that the first row lacks; write .jsonl"
                )
        self.writer.write_record(
            {column: csv_cell(values.get(column, "")) for column in self.columns}
        )


def csv_cell(value: Any) -> Any:
    """Return a value as a csv field: text and numbers as they are, lists and truth values as JSON."""
    if value is None:
        return ""
    # To Python a truth value is an int; in the file it is JSON's true, as in jsonl.
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json_text(value, default=str)
