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

A blank line is skipped, unless `keep_blank` asks for answers to stay beside their lines: then a blank line of txt, or
of csv and tsv with a single column, is a row of empty text. From standard input it always is, in jsonl never.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from trainer_ext.arguments.files import FORMATS, FileOptions, ending_of
from trainer_ext.characters import broken_at
from trainer_ext.data.io.json_reader import Record, read_json, read_jsonl
from trainer_ext.data.io.open import LONGEST_FIELD, open_text, reading_errors, row_place
from trainer_ext.data.io.parquet_reader import read_parquet
from trainer_ext.data.io.rejects import Reject, rejecting
from trainer_ext.errors import UserError

DEFAULTS = FileOptions()
COLUMN_FLAGS = "; --text_column, --label_columns and --id_column name others"  # of most commands
SEPARATORS = {"csv": ",", "tsv": "\t"}
# Separators that a header may hold by mistake, by the name that --delimiter takes.
OTHER_SEPARATORS = {"semicolon": ";", "tab": "\t", "'|'": "|", "comma": ","}
SplitLabel = Callable[[str], bool]
SHOWN = 20  # columns that a message names
# The csv module's own limit, 128 KiB, is less than a long text.
csv.field_size_limit(LONGEST_FIELD)


@dataclass(frozen=True)
class Row:
    """One record: `values` by column, and `where` for messages (`rows.csv, row 3 (line 9)`)."""

    values: dict[str, Any]
    where: str


def read_rows(
    path: str,
    split_label: SplitLabel | None = lambda tail: True,
    options: FileOptions = DEFAULTS,
    keep_blank: bool = False,
    reject: Reject | None = None,
) -> Iterator[Row]:
    """Yield every row of a file, in order.

    Args:
        path: the file, or `-` for standard input.
        split_label: for txt: whether what follows the last tab is a label. None: lines are texts as a whole.
        options: how the file is written, if its ending does not say so.
        keep_blank: whether a blank line is a row, if a line is a text.
        reject: takes what is wrong with a row, which is then left out; None: it is raised.

    Raises:
        UserError: for a missing file, an unknown ending, or a record that cannot be read, with file and row.
    """
    kind = file_format(path, options)
    keep_blank = keep_blank or path == "-"
    with reading_errors(path, options.encoding):
        if kind in SEPARATORS:
            yield from read_delimited(path, kind, options, keep_blank, reject)
        elif kind == "txt":
            yield from read_txt(path, split_label, options, keep_blank, reject)
        # These have columns of their own in every record, so each is checked for its own.
        elif kind == "parquet":
            yield from checked_rows(read_parquet(path, check_header, reject), reject)
        elif kind == "jsonl":
            yield from checked_rows(read_jsonl(path, options.encoding, reject), reject)
        else:
            yield from checked_rows(read_json(path, options.encoding, reject), reject)


def checked_rows(records: Iterable[Record], reject: Reject | None) -> Iterator[Row]:
    """Yield records as rows, but for those that are rejected."""
    for record in records:
        row = None
        with rejecting(reject):
            row = checked_row(record)
        if row is not None:
            yield row


def checked_row(record: Record) -> Row:
    """Return a record as a row.

    Raises:
        UserError: for a header among the rows, and for text that cannot be written again, in any column.
    """
    row = Row(*record)
    for column in row.values:
        check_characters(row, column)
        if broken_at(column) is not None:
            raise UserError(f"{row.where}: the name of column {column!r} holds a broken character")
    refuse_header(row)
    return row


def file_format(path: str, options: FileOptions = DEFAULTS) -> str:
    """Return the format that `options` name, or that of the file's ending; standard input is txt."""
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


class QuotedRecords:
    """The fields of csv records; `line` is where the last one ended, or could not be read."""

    def __init__(self, file: IO[str], delimiter: str):
        # Strict: else a field with a stray quote would swallow the rows behind it in silence.
        self.reader = csv.reader(file, delimiter=delimiter, strict=True)

    @property
    def line(self) -> int:
        """Number of the last line that was read, from 1."""
        return self.reader.line_num

    def __iter__(self) -> Iterator[list[str]]:
        return self.reader


class UnquotedRecords:
    """The fields of lines whose quotes are text, none for a blank line; `line` is the number of the last one."""

    def __init__(self, file: IO[str], delimiter: str):
        self.file = file
        self.delimiter = delimiter
        self.line = 0

    def __iter__(self) -> Iterator[list[str]]:
        for line in self.file:
            self.line += 1
            line = line.removesuffix("\n").removesuffix("\r")
            if line:
                yield line.split(self.delimiter)
            else:
                yield []


def read_delimited(
    path: str,
    kind: str,
    options: FileOptions,
    keep_blank: bool,
    reject: Reject | None = None,
) -> Iterator[Row]:
    """Yield the rows of csv or tsv.

    Raises:
        UserError: for a record with more or fewer fields than the header, which is never cut or filled up.
    """
    delimiter = options.separator or SEPARATORS[kind]
    unquoted = options.quoting == "none"
    # Inside quotes the csv module needs line breaks as they are; without quotes only LF ends a line.
    newline = "\n" if unquoted else ""
    with open_text(path, newline, options.encoding) as file:
        records: QuotedRecords | UnquotedRecords
        records = UnquotedRecords(file, delimiter) if unquoted else QuotedRecords(file, delimiter)
        header = options.column_names
        number = 0
        iterator = iter(records)
        while True:
            try:
                fields = next(iterator, None)
            except csv.Error as error:
                number += 1
                # Without a header nothing can be read.
                with rejecting(reject if header else None):
                    where = row_place(path, number, records.line)
                    raise UserError(f"{where}: {error}{quotes_hint(unquoted)}") from error
                continue
            if fields is None:
                return
            if not fields:
                # A blank line is an empty text if rows are one text each; else it is skipped, as by csv.DictReader.
                if not keep_blank or header is None or len(header) != 1:
                    continue
                fields = [""]
            if header is None:
                check_header(path, fields)
                header = fields
                continue
            number += 1
            row = None
            with rejecting(reject):
                row = row_of(row_place(path, number, records.line), fields, header, options)
            if row is not None:
                yield row


def quotes_hint(unquoted: bool) -> str:
    """Return how to read a file whose quotes are text."""
    return "" if unquoted else " (--quoting none takes quotes as text, a line as a row)"


def row_of(where: str, fields: Sequence[str], header: Sequence[str], options: FileOptions) -> Row:
    """Return the fields of a record as a row; `UserError` for a header, and for more or fewer fields than it has."""
    check_field_count(where, fields, header, options)
    row = Row(dict(zip(header, fields, strict=True)), where)
    refuse_header(row)
    return row


def check_field_count(
    where: str,
    fields: Sequence[str],
    header: Sequence[str],
    options: FileOptions,
) -> None:
    """Raise `UserError`, with what may help, unless a record has as many fields as the header."""
    if len(fields) == len(header):
        return
    expected = "column_names has" if options.column_names else "the header has"
    hint = delimiter_hint(header)
    if not hint and len(fields) > len(header) and options.quoting != "none":
        hint = " (a field that holds the delimiter needs quotes; --delimiter names another one)"
    raise UserError(f"{where}: {len(fields)} fields where {expected} {len(header)}{hint}")


def check_header(path: str, header: list[str]) -> None:
    """Raise `UserError` if two columns have the same name: one of them would be lost."""
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        raise UserError(f"{path}: the header names {join_names(repeated, repr)} more than once")


def delimiter_hint(header: Sequence[str]) -> str:
    """Return how to read a file whose header is one column that holds another separator; empty for other headers."""
    if len(header) != 1:
        return ""
    column = str(header[0])
    for name, separator in OTHER_SEPARATORS.items():
        if separator in column:
            return f"; the header {column[:80]!r} holds another separator: --delimiter {name} cuts there"
    return ""


def join_names(columns: Iterable[Any], show: Callable[[Any], str] = str) -> str:
    """Return the first names of columns for a message."""
    columns = list(columns)
    shown = ", ".join(map(show, columns[:SHOWN]))
    # A table of genes or pixels has tens of thousands.
    if len(columns) > SHOWN:
        return f"{shown}, ... ({len(columns)} in all)"
    return shown


def refuse_header(row: Row) -> None:
    """Raise `UserError` if a row's values are the names of its columns, in any order and case.

    Two files put together leave the second one's header inside, whose label would become a class called "label".
    """
    first = next(iter(row.values.values()), None)
    if not isinstance(first, str) or len(row.values) < 2:
        return
    # Nearly every row ends here, before the names are put into a set.
    start = normalised_name(first)
    if all(normalised_name(name) != start for name in row.values):
        return
    names = {normalised_name(name) for name in row.values}
    if all(normalised_name(value) in names for value in row.values.values()):
        columns = ", ".join(map(str, row.values))
        raise UserError(
            f"{row.where}: is a header, not a row: its values are the names of the columns ({columns}); take it out"
        )


def normalised_name(name: Any) -> str:
    """Return a name without case, the whitespace around it, and the BOM of a file that was put behind another."""
    return str(name).strip("\ufeff \t\r\n").casefold()


def read_txt(
    path: str,
    split_label: SplitLabel | None,
    options: FileOptions,
    keep_blank: bool,
    reject: Reject | None = None,
) -> Iterator[Row]:
    """Yield the rows of txt: with `column_names` cut at the first delimiters, else at the last one."""
    delimiter = options.separator or "\t"
    for where, line in read_lines(path, keep_blank, options.encoding):
        row = None
        with rejecting(reject):
            if options.column_names:
                values = split_columns(where, line, delimiter, options.column_names)
            else:
                values = split_text(line, delimiter, split_label)
            found = Row(values, where)
            refuse_header(found)
            row = found
        if row is not None:
            yield row


def split_text(line: str, delimiter: str, split_label: SplitLabel | None) -> dict[str, Any]:
    """Return `text`, or `text<TAB>label` cut at the last delimiter, by column."""
    text, found, tail = line.rpartition(delimiter)
    # At prediction the task says whether the tail is one of its labels: a text may hold tabs of its own.
    if found and split_label is not None and split_label(tail):
        return {"text": text, "label": tail}
    return {"text": line}


def split_columns(where: str, line: str, delimiter: str, columns: Sequence[str]) -> dict[str, Any]:
    """Return a line cut at the first delimiters, by column; the last one takes the rest, delimiters and all.

    Raises:
        UserError: for too few fields, unless the line is blank.
    """
    # A blank line that is kept stands for an empty text, whatever the columns.
    if not line.strip():
        return dict.fromkeys(columns, "")
    fields = line.split(delimiter, len(columns) - 1)
    if len(fields) != len(columns):
        raise UserError(f"{where}: {len(fields)} fields where column_names has {len(columns)}")
    return dict(zip(columns, fields, strict=True))


def read_lines(path: str, keep_blank: bool, encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """Yield place and content of each line, blank ones included or not."""
    with open_text(path, "\n", encoding) as file:
        number = 0
        for line_number, line in enumerate(file, 1):
            line = line.rstrip("\r\n")
            if not line.strip() and not keep_blank:
                continue
            number += 1
            if number == line_number:
                yield f"{path}, row {number}", line
            else:
                yield row_place(path, number, line_number), line


def require_columns(row: Row, columns: Sequence[str], path: str, hint: str = COLUMN_FLAGS) -> None:
    """Raise `UserError` naming the first column the row lacks, those it has, and what may help.

    `hint` is said unless the delimiter seems to be wrong: which flags of the command name columns.
    """
    for column in columns:
        if column not in row.values:
            advice = delimiter_hint(list(row.values)) or hint
            raise UserError(
                f"{path}: there is no column {column!r}; the columns are {join_names(row.values)}{advice}"
            )


def text_of(row: Row, column: str, allow_empty: bool = False) -> str:
    """Return the row's text.

    Raises:
        UserError: with file and row, if it is missing or (unless allowed) empty.
    """
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
