"""JSON, as lines of objects or as an array of them: (values, where) of each object in order. Streams."""

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, Any

from trainer_ext.data.io.open import allow_long_lines, open_text, row_place
from trainer_ext.data.io.rejects import Reject, rejecting
from trainer_ext.errors import UserError

CHUNK = 1 << 16
LONGEST_VALUE = 1 << 26  # characters: one row is held in memory whole
NO_ROWS = "json holds an array of objects, [{...}, ...], one for each row (pandas: to_json(orient='records'))"
Values = dict[str, Any]
Record = tuple[Values, str]


def read_jsonl(
    path: str,
    encoding: str = "utf-8",
    reject: Reject | None = None,
) -> Iterator[Record]:
    """Yield one JSON object a line; blank lines are skipped, and lines that `reject` takes."""
    with open_text(path, "\n", encoding) as file:
        yield from read_lines(path, file, reject)


def read_lines(
    path: str,
    lines: Iterable[str],
    reject: Reject | None = None,
) -> Iterator[Record]:
    """Yield the objects of lines."""
    number = 0
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        number += 1
        where = row_place(path, number, line_number)
        record = None
        with rejecting(reject), json_errors(where):
            record = as_object(json.loads(line.rstrip()), where), where
        if record is not None:
            yield record


def read_json(
    path: str,
    encoding: str = "utf-8",
    reject: Reject | None = None,
) -> Iterator[Record]:
    """Yield the objects of a JSON array, decoded one by one as the file is read; without a bracket, those of lines.

    A broken object of an array ends the file, also with `reject`: nobody can tell where the next one begins.
    """
    with open_text(path, "\n", encoding) as file:
        start = first_character(file)
        if start.endswith("["):
            # Many programs write an array as one line, of which a row at a time is held in memory.
            allow_long_lines(file)
            yield from read_array(path, JsonText(file, path, start))
        else:
            first_lines = io.StringIO(start + file.readline(), newline="\n")
            yield from check_rows(path, read_lines(path, chain(first_lines, file), reject))


def first_character(file: IO[str]) -> str:
    """Read on to the first character that is not whitespace; return it with the whitespace before it."""
    start = ""
    while True:
        character = file.read(1)
        start += character
        if not character.isspace():
            return start


def check_rows(path: str, records: Iterator[Record]) -> Iterator[Record]:
    """Yield the records of lines in a file called json.

    Raises:
        UserError: for a file that is one value and no rows: columns, or rows inside an object.
    """
    try:
        head = list(islice(records, 2))
    except UserError as error:
        raise UserError(f"{error} ({NO_ROWS})") from error
    if len(head) == 1:
        values = head[0][0]
        # One object of scalars is a file of one row.
        if values and all(isinstance(value, (dict, list)) for value in values.values()):
            keys = ", ".join(map(repr, list(values)[:5]))
            raise UserError(f"{path} is one JSON object with {keys}: {NO_ROWS}")
    yield from head
    yield from records


def read_array(path: str, text: "JsonText") -> Iterator[Record]:
    """Yield the objects of the array whose bracket is next.

    Raises:
        UserError: with file, row and line, for what is not an array of objects.
    """
    text.take()  # the bracket
    number = 0
    while text.next() != "]":
        where = row_place(path, number + 1, text.line)
        if number:
            separator = text.take()
            if separator != ",":
                found = separator or "the end of the file"
                raise UserError(
                    f"{where}: not JSON: expected ',' or ']' behind an object, got {found!r}"
                )
        text.next()  # so that `text.line` is that of the object, not of the comma
        number += 1
        where = row_place(path, number, text.line)
        with json_errors(where, column=False):
            values = text.take_value()
        yield as_object(values, where), where
    text.take()
    rest = text.next()
    if rest:
        raise UserError(f"{path}, line {text.line}: not JSON: {rest!r} behind the end of the array")


class JsonText:
    """A file of which a stretch is in memory: what is taken is forgotten, and more is read when it is needed.

    Args:
        file: to read on from.
        path: named in errors.
        start: what was read of the file before.
    """

    def __init__(self, file: IO[str], path: str = "", start: str = ""):
        self.file = file
        self.path = path
        self.buffer = start
        self.position = 0
        self.line = 1

    def read_on(self, size: int = CHUNK) -> bool:
        """Forget what was taken and read more; return False at the end of the file."""
        more = self.file.read(size)
        self.buffer = self.buffer[self.position :] + more
        self.position = 0
        return bool(more)

    def next(self) -> str:
        """Return the next character that is not whitespace, which stays; an empty string at the end."""
        while True:
            while self.position < len(self.buffer):
                character = self.buffer[self.position]
                if not character.isspace():
                    return character
                if character == "\n":
                    self.line += 1
                self.position += 1
            if not self.read_on():
                return ""

    def take(self) -> str:
        """Take the next character that is not whitespace."""
        character = self.next()
        self.position += len(character)
        return character

    def take_value(self) -> Any:
        """Take the JSON value that starts here; read on until it is complete.

        Raises:
            UserError: for a value beyond the limit.
            ValueError: for what is not JSON.
        """
        decoder = json.JSONDecoder()
        found = self.decode(decoder)
        while found is None:
            if len(self.buffer) > LONGEST_VALUE:
                raise UserError(
                    f"{self.path}, line {self.line}: one value of more than {LONGEST_VALUE >> 20} MiB"
                )
            found = self.decode(decoder)
        value, end = found
        self.line += self.buffer.count("\n", self.position, end)
        self.position = end
        return value

    def decode(self, decoder: json.JSONDecoder) -> tuple[Any, int] | None:
        """Return the value that starts here and where it ends; None if it was not complete and more was read."""
        try:
            return decoder.raw_decode(self.buffer, self.position)
        except (ValueError, RecursionError):
            # Reading as much again each time keeps the work linear in the length of a long value.
            if not self.read_on(max(CHUNK, len(self.buffer))):
                raise
            return None


@contextmanager
def json_errors(where: str, column: bool = True) -> Iterator[None]:
    """Raise JSON's errors as a `UserError` with the place; `column`: what is decoded is one line."""
    try:
        yield
    except json.JSONDecodeError as error:
        place = f" at column {error.colno}" if column else ""
        raise UserError(f"{where}: not JSON: {error.msg}{place}") from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of nested brackets.
        raise UserError(f"{where}: JSON that cannot be read: {error}") from error


def as_object(values: Any, where: str) -> Values:
    """Return the value, or raise `UserError` if it is not an object."""
    if isinstance(values, dict):
        return values
    hint = ""
    if isinstance(values, list):
        hint = " (an array of objects is read with --file_format json)"
    raise UserError(f"{where}: expected a JSON object, got {type(values).__name__}{hint}")
