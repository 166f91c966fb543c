"""One reader for every row of every file format, for training and for prediction; streams and needs no framework.

Formats, by the ending (before `.gz` or `.part1.gz`) or by `file_format`:
    csv, tsv: a header row, RFC 4180 quotes (line breaks and quotes inside fields), BOM or not, LF or CRLF; with
              `column_names` no header, with `quoting none` no quotes;
    jsonl:    one object a line;
    json:     an array of objects (or jsonl under this name: the first character tells);
    parquet:  through pyarrow;
    txt:      no header, no quotes: `text`, or `text<TAB>label` (cut at the last tab), in columns called text and label.
              With `column_names` a line is cut at the first delimiters, and the last column takes the rest.
`-` is standard input, read as txt.

A blank line is no row, unless `keep_blank` says that answers are to stay beside their lines: then one of txt, and one
of csv and tsv with a single column, is a row of empty text. From standard input it always is. In jsonl it never is.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from trainer_ext.arguments.files import FORMATS, FileOptions, ending_of
from trainer_ext.characters import broken_at
from trainer_ext.data.io.json_reader import Record, read_json, read_jsonl
from trainer_ext.data.io.open import LONGEST_FIELD, check_file, open_text, reading_errors
from trainer_ext.errors import UserError

DEFAULTS = FileOptions()
OTHERS = {
    "semicolon": ";",
    "tab": "\t",
    "'|'": "|",
    "comma": ",",
}  # by the name that --delimiter takes
SHOWN = 20  # columns that a message names
csv.field_size_limit(LONGEST_FIELD)


@dataclass(frozen=True)
class Row:
    """One record: `values` by column, and `where` for messages (`rows.csv, row 3 (line 9)`)."""

    values: dict[str, Any]
    where: str


def read_rows(
    path: str,
    split_label: Callable[[str], bool] | None = lambda tail: True,
    options: FileOptions = DEFAULTS,
    keep_blank: bool = False,
) -> Iterator[Row]:
    """Yield every row of a file, in order.

    Args:
        path: the file, or `-` for standard input.
        split_label: for txt: whether what follows the last tab is a label. None: lines are text as a whole.
        options: how the file is written, where its ending does not say so.
        keep_blank: whether a blank line is a row, where a line is a text.

    Raises:
        UserError: for a missing file, an unknown ending, or a record that cannot be read, with file and row.
    """
    kind = file_format(path, options)
    keep_blank = keep_blank or path == "-"
    with reading_errors(path, options.encoding):
        if kind in ("csv", "tsv"):
            yield from read_delimited(
                path, options.separator or {"csv": ",", "tsv": "\t"}[kind], options, keep_blank
            )
        elif kind == "txt":
            yield from read_lines(path, split_label, options, keep_blank)
        elif kind == "parquet":
            yield from map(as_row, read_parquet(path))
        else:
            yield from map(
                as_row, {"jsonl": read_jsonl, "json": read_json}[kind](path, options.encoding)
            )


def as_row(record: Record) -> Row:
    """A record, checked to be no header, and to hold only what can be written again, in every column."""
    row = Row(*record)
    for column in row.values:
        check_characters(row, column)
        if broken_at(column) is not None:
            raise UserError(f"{row.where}: the name of column {column!r} holds a broken character")
    return check_no_header(row)


def file_format(path: str, options: FileOptions = DEFAULTS) -> str:
    """The format that `options` name, else by the file's ending; standard input is txt."""
    if options.file_format != "auto":
        return options.file_format
    if path == "-":
        return "txt"
    ending = ending_of(path)
    if ending not in FORMATS:
        raise UserError(
            f"{path}: unknown ending {ending!r}; expected one of {', '.join(FORMATS)} (or these with .gz), "
            "or say what it is with --file_format"
        )
    return ending


def read_delimited(
    path: str, delimiter: str, options: FileOptions, keep_blank: bool
) -> Iterator[Row]:
    """csv and tsv; a record with more or fewer fields than the header is an error, never dropped or padded."""
    unquoted = options.quoting == "none"
    with open_text(path, "\n" if unquoted else "", options.encoding) as file:
        records = (
            split_lines(file, delimiter)
            if unquoted
            else csv.reader(file, delimiter=delimiter, strict=True)
        )
        number, line = 0, 0
        lines = (lambda: line) if unquoted else (lambda: records.line_num)
        try:
            header = options.column_names
            for record in records:
                line, fields = record if unquoted else (0, record)
                if not fields and keep_blank and header is not None and len(header) == 1:
                    fields = [""]
                if not fields:  # a blank line between records, as csv.DictReader skips it
                    continue
                if header is None:
                    check_header(path, header := fields)
                    continue
                number += 1
                where = f"{path}, row {number} (line {lines()})"
                if len(fields) != len(header):
                    expected = "column_names has" if options.column_names else "the header has"
                    hint = delimiter_hint(header) or quoting_hint(fields, header, unquoted)
                    raise UserError(
                        f"{where}: {len(fields)} fields where {expected} {len(header)}{hint}"
                    )
                yield check_no_header(Row(dict(zip(header, fields, strict=True)), where))
        except csv.Error as error:
            hint = "" if unquoted else " (--quoting none takes quotes as text, a line as a row)"
            raise UserError(f"{path}, row {number + 1} (line {lines()}): {error}{hint}") from error


def split_lines(file: IO[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields of lines whose quotes are text; no fields for a blank line."""
    for number, line in enumerate(file, 1):
        line = line.removesuffix("\n").removesuffix("\r")
        yield number, line.split(delimiter) if line else []


def check_header(path: str, header: list[str]) -> None:
    """Raise `UserError` when two columns have the same name: one of them would be lost."""
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise UserError(f"{path}: the header names {names(twice, repr)} more than once")


def delimiter_hint(header: Sequence[str]) -> str:
    """How to read a file whose header is one column that holds another separator; empty for other headers."""
    for name, separator in OTHERS.items():
        if len(header) == 1 and separator in str(header[0]):
            return f"; the header {str(header[0])[:80]!r} holds another separator: --delimiter {name} cuts there"
    return ""


def quoting_hint(fields: Sequence[str], header: Sequence[str], unquoted: bool) -> str:
    """What may help where a row has more fields than the header."""
    if len(fields) < len(header) or unquoted:
        return ""
    return " (a field that holds the delimiter needs quotes; --delimiter names another one)"


def names(columns: Iterable[Any], show: Callable[[Any], str] = str) -> str:
    """The first names of columns."""
    columns = list(columns)
    more = f", ... ({len(columns)} in all)" if len(columns) > SHOWN else ""
    return ", ".join(map(show, columns[:SHOWN])) + more


def check_no_header(row: Row) -> Row:
    """The row, or a `UserError` when its values are the names of its columns, in any order and case.

    Two files put together leave the second one's header inside, whose label would be a class called "label".
    """
    first = next(iter(row.values.values()), None)
    if not isinstance(first, str) or len(row.values) < 2:
        return row
    start = folded(first)
    names = (
        {folded(name) for name in row.values}
        if any(folded(name) == start for name in row.values)
        else ()
    )
    if names and all(folded(value) in names for value in row.values.values()):
        raise UserError(
            f"{row.where}: is a header, not a row: its values are the names of the columns "
            f"({', '.join(map(str, row.values))}); take it out"
        )
    return row


def folded(name: Any) -> str:
    """A name without case, blanks around it, and the BOM of a file that stands behind another."""
    return str(name).strip("\ufeff \t\r\n").casefold()


def read_parquet(path: str) -> Iterator[Record]:
    """Parquet in batches, so that memory does not grow with the file."""
    import pyarrow
    from pyarrow import parquet

    check_file(path)
    try:
        number = 0
        file = parquet.ParquetFile(path)
        check_header(path, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=1024):
            for values in python_rows(path, batch, number):
                number += 1
                yield values, f"{path}, row {number}"
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a parquet file: {error}") from error


def python_rows(path: str, batch: Any, before: int) -> list[dict[str, Any]]:
    """A batch's rows as Python has them.

    Raises:
        UserError: naming row and column, for what Python has no value for: a date beyond the year 9999.
    """
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError) as error:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for number, value in enumerate(column, before + 1):
                try:
                    value.as_py()
                except (ValueError, OverflowError) as cause:
                    raise UserError(
                        f"{path}, row {number}: column {name!r} has a {value.type} that cannot be read: {cause}"
                    ) from error
        raise


def read_lines(
    path: str, split_label: Callable[[str], bool] | None, options: FileOptions, keep_blank: bool
) -> Iterator[Row]:
    """txt: with `column_names` cut at the first delimiters, else at the last one."""
    delimiter = options.separator or "\t"
    lines = lines_of(path, keep_blank, options.encoding)
    if options.column_names:
        yield from read_columns(lines, delimiter, options.column_names)
    else:
        yield from read_txt(lines, split_label, delimiter)


def read_txt(
    lines: Iterable[tuple[str, str]], split_label: Callable[[str], bool] | None, delimiter: str
) -> Iterator[Row]:
    """`text` or `text<TAB>label` a line, cut at the last delimiter."""
    for where, line in lines:
        text, found, tail = line.rpartition(delimiter)
        if found and split_label is not None and split_label(tail):
            yield check_no_header(Row({"text": text, "label": tail}, where))
        else:
            yield Row({"text": line}, where)


def read_columns(
    lines: Iterable[tuple[str, str]], delimiter: str, columns: Sequence[str]
) -> Iterator[Row]:
    """A line cut at the first delimiters; the last column takes the rest, delimiters and all."""
    for where, line in lines:
        fields = line.split(delimiter, len(columns) - 1) if line.strip() else [""] * len(columns)
        if len(fields) != len(columns):
            raise UserError(f"{where}: {len(fields)} fields where column_names has {len(columns)}")
        yield check_no_header(Row(dict(zip(columns, fields, strict=True)), where))


def lines_of(path: str, keep_blank: bool, encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """Place and content of each line, blank ones included or not."""
    with open_text(path, "\n", encoding) as file:
        number = 0
        for line_number, line in enumerate(file, 1):
            line = line.rstrip("\r\n")
            if not line.strip() and not keep_blank:
                continue
            number += 1
            yield (
                f"{path}, row {number}"
                + (f" (line {line_number})" if number != line_number else ""),
                line,
            )


def require_columns(row: Row, columns: Sequence[str], path: str) -> None:
    """Raise `UserError` naming the first column the row lacks, those it has, and what may help."""
    for column in columns:
        if column not in row.values:
            help = (
                delimiter_hint(list(row.values))
                or "; --text_column, --label_columns and --id_column name others"
            )
            raise UserError(
                f"{path}: there is no column {column!r}; the columns are {names(row.values)}{help}"
            )


def text_of(row: Row, column: str, allow_empty: bool = False) -> str:
    """The row's text; an error with file and row when it is missing or (unless allowed) empty."""
    text = row.values.get(column)
    if not isinstance(text, str):
        raise UserError(f"{row.where}: column {column!r} must hold text, got {text!r}")
    if not allow_empty and not text.strip():
        raise UserError(
            f"{row.where}: column {column!r} is empty (--drop_missing leaves out such rows)"
        )
    check_characters(row, column)
    return text


def check_characters(row: Row, column: str) -> None:
    """Raise `UserError` for text that cannot be written again: half of a surrogate pair, from an escape in JSON."""
    place = broken_at(row.values.get(column))
    if place is not None:
        raise UserError(f"{row.where}: column {column!r} holds a broken character at {place}")
