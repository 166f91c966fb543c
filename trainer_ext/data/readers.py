"""One reader for every row of every file format, for training and for prediction; streams and needs no framework.

Formats, by the ending before an optional `.gz`:
    csv, tsv: a header row, RFC 4180 quotes (line breaks and quotes inside fields), BOM or not, LF or CRLF;
    jsonl:    one object a line;
    parquet:  through pyarrow;
    txt:      no header: `text`, or `text<TAB>label` (split at the last tab); columns are called text and label.
`-` is standard input, read as txt.
"""

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trainer_ext.errors import UserError

FORMATS = ("csv", "tsv", "jsonl", "parquet", "txt")
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class Row:
    """One record: `values` by column, and `where` for messages (`rows.csv, row 3 (line 9)`)."""

    values: dict[str, Any]
    where: str


def read_rows(path: str, split_label: Callable[[str], bool] | None = lambda tail: True) -> Iterator[Row]:
    """Yield every row of a file, in order.

    Args:
        path: the file, or `-` for standard input.
        split_label: for txt: whether what follows the last tab is a label. None: lines are text as a whole.

    Raises:
        UserError: for a missing file, an unknown ending, or a record that cannot be read, with file and row.
    """
    readers = {"csv": read_delimited, "tsv": read_delimited, "jsonl": read_jsonl, "parquet": read_parquet}
    try:
        if file_format(path) == "txt":
            yield from read_txt(path, split_label)
        else:
            yield from readers[file_format(path)](path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: byte {error.object[error.start]:#04x} ({error.reason})") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def file_format(path: str) -> str:
    """`csv`, `tsv`, `jsonl`, `parquet` or `txt`, from the file's ending."""
    if path == "-":
        return "txt"
    ending = Path(path.removesuffix(".gz")).suffix.lstrip(".").lower()
    if ending not in FORMATS:
        raise UserError(f"{path}: unknown ending {ending!r}; expected one of {', '.join(FORMATS)} (or these with .gz)")
    return ending


@contextmanager
def open_text(path: str, newline: str | None) -> Iterator[IO[str]]:
    """Open a text file (UTF-8, BOM dropped, gz unpacked) or standard input."""
    if path == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):  # read as a file is, whatever the locale says
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict", newline=newline)
        yield sys.stdin
        return
    check_file(path)
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig", newline=newline) as file:
        yield file


def check_file(path: str) -> None:
    """Raise `UserError` unless `path` is a file."""
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist" if not Path(path).exists() else f"{path} is not a file")


def read_delimited(path: str) -> Iterator[Row]:
    """csv and tsv; a record with more or fewer fields than the header is an error, never dropped or padded."""
    delimiter = "," if file_format(path) == "csv" else "\t"
    with open_text(path, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        number = 0
        try:
            header = next((fields for fields in reader if fields), None)
            if header is None:
                return
            check_header(path, header)
            for fields in reader:
                if not fields:  # a blank line between records, as csv.DictReader skips it
                    continue
                number += 1
                where = f"{path}, row {number} (line {reader.line_num})"
                if len(fields) != len(header):
                    raise UserError(f"{where}: {len(fields)} fields where the header has {len(header)}")
                yield Row(dict(zip(header, fields, strict=True)), where)
        except csv.Error as error:
            raise UserError(f"{path}, row {number + 1} (line {reader.line_num}): {error}") from error


def check_header(path: str, header: list[str]) -> None:
    """Raise `UserError` when two columns have the same name: one of them would be lost."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path}: the header names {', '.join(map(repr, twice))} more than once")


def read_jsonl(path: str) -> Iterator[Row]:
    """One JSON object a line; blank lines are skipped."""
    with open_text(path, newline="\n") as file:
        number = 0
        for line_number, line in enumerate(file, 1):
            if not line.strip():
                continue
            number += 1
            where = f"{path}, row {number} (line {line_number})"
            try:
                values = json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, or of nested brackets
                raise UserError(f"{where}: JSON that cannot be read: {error}") from error
            if not isinstance(values, dict):
                raise UserError(f"{where}: expected a JSON object, got {type(values).__name__}")
            yield Row(values, where)


def read_parquet(path: str) -> Iterator[Row]:
    """Parquet in batches, so that memory does not grow with the file."""
    import pyarrow
    from pyarrow import parquet

    check_file(path)
    try:
        number = 0
        file = parquet.ParquetFile(path)
        check_header(path, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield Row(values, f"{path}, row {number}")
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a parquet file: {error}") from error


def read_txt(path: str, split_label: Callable[[str], bool] | None) -> Iterator[Row]:
    """`text` or `text<TAB>label` a line. From standard input a blank line is a row: one answer per line."""
    with open_text(path, newline="\n") as file:
        number = 0
        for line_number, line in enumerate(file, 1):
            line = line.rstrip("\r\n")
            if not line.strip() and path != "-":
                continue
            number += 1
            where = f"{path}, row {number} (line {line_number})" if number != line_number else f"{path}, row {number}"
            text, tab, tail = line.rpartition("\t")
            if tab and split_label is not None and split_label(tail):
                yield Row({"text": text, "label": tail}, where)
            else:
                yield Row({"text": line}, where)


def require_columns(row: Row, columns: list[str], path: str) -> None:
    """Raise `UserError` naming the first column the row lacks, and those it has."""
    for column in columns:
        if column not in row.values:
            raise UserError(f"{path}: there is no column {column!r}; the columns are {', '.join(map(str, row.values))}")


def text_of(row: Row, column: str, allow_empty: bool = False) -> str:
    """The row's text; an error with file and row when it is missing or (unless allowed) empty."""
    text = row.values.get(column)
    if not isinstance(text, str):
        raise UserError(f"{row.where}: column {column!r} must hold text, got {text!r}")
    if not allow_empty and not text.strip():
        raise UserError(f"{row.where}: column {column!r} is empty")
    check_characters(row, column)
    return text


def check_characters(row: Row, column: str) -> None:
    """Raise `UserError` for text that cannot be written again: half of a surrogate pair, from an escape in JSON."""
    try:
        str(row.values.get(column)).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{row.where}: column {column!r} holds a broken character at {error.start}") from None
