"""JSON, as lines of objects or as an array of them: (values, where) of each object in order. Streams."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from trainer_ext.data.io.open import open_text
from trainer_ext.errors import UserError

CHUNK = 1 << 16
LONGEST_VALUE = 1 << 26  # characters: one row is held in memory whole
NO_ROWS = "json holds an array of objects, [{...}, ...], one for each row (pandas: to_json(orient='records'))"
Record = tuple[dict[str, Any], str]


def read_jsonl(path: str, encoding: str = "utf-8") -> Iterator[Record]:
    """One JSON object a line; blank lines are skipped."""
    with open_text(path, "\n", encoding) as file:
        number = 0
        for line_number, line in enumerate(file, 1):
            if not line.strip():
                continue
            number += 1
            where = f"{path}, row {number} (line {line_number})"
            with json_errors(where):
                values = json.loads(line.rstrip())
            yield as_object(values, where), where


def read_json(path: str, encoding: str = "utf-8") -> Iterator[Record]:
    """The objects of a JSON array, decoded one by one as the file is read; lines of JSON where there is no bracket."""
    with open_text(path, "\n", encoding, longest_line=None) as file:
        text = Text(file, path)
        if text.next() == "[":
            yield from read_array(path, text)
            return
    yield from check_rows(path, read_jsonl(path, encoding))


def check_rows(path: str, records: Iterator[Record]) -> Iterator[Record]:
    """The records of lines under the name of json.

    Raises:
        UserError: for a file that is one value and no rows: columns, or rows inside an object.
    """
    try:
        first = next(records, None)
        second = next(records, None) if first is not None else None
    except UserError as error:
        raise UserError(f"{error} ({NO_ROWS})") from error
    alone = first[0] if first is not None and second is None else None
    if alone and all(isinstance(value, (dict, list)) for value in alone.values()):
        raise UserError(
            f"{path} is one JSON object with {', '.join(map(repr, list(alone)[:5]))}: {NO_ROWS}"
        )
    yield from (record for record in (first, second) if record is not None)
    yield from records


def read_array(path: str, text: "Text") -> Iterator[Record]:
    """The objects of the array whose bracket is next."""
    number, mark = 0, text.take()
    while text.next() != "]":
        where = f"{path}, row {number + 1} (line {text.line})"
        if number and (mark := text.take()) != ",":
            raise UserError(
                f"{where}: not JSON: expected ',' or ']' behind an object, got {mark or 'the end of the file'!r}"
            )
        text.next()
        number += 1
        where = f"{path}, row {number} (line {text.line})"
        with json_errors(where, column=False):
            values = text.take_value()
        yield as_object(values, where), where
    text.take()
    if mark := text.next():
        raise UserError(f"{path}, line {text.line}: not JSON: {mark!r} behind the end of the array")


class Text:
    """A file of which a stretch is in memory: what is taken is forgotten, and more is read as it is needed."""

    def __init__(self, file: IO[str], path: str = ""):
        self.file, self.path, self.buffer, self.position, self.line = file, path, "", 0, 1

    def read_on(self, size: int = CHUNK) -> bool:
        """Forget what was taken and read more; False at the end of the file."""
        more = self.file.read(size)
        self.buffer, self.position = self.buffer[self.position :] + more, 0
        return bool(more)

    def next(self) -> str:
        """The next character that is no blank, which stays; empty at the end."""
        while True:
            while self.position < len(self.buffer):
                character = self.buffer[self.position]
                if not character.isspace():
                    return character
                self.line += character == "\n"
                self.position += 1
            if not self.read_on():
                return ""

    def take(self) -> str:
        """The same, taken."""
        character = self.next()
        self.position += len(character)
        return character

    def take_value(self) -> Any:
        """The JSON value that starts here; reads on until it is whole."""
        decoder = json.JSONDecoder()
        while (found := self.whole_value(decoder)) is None:
            if len(self.buffer) > LONGEST_VALUE:
                raise UserError(
                    f"{self.path}, line {self.line}: one value of more than {LONGEST_VALUE >> 20} MiB"
                )
        value, end = found
        self.line += self.buffer.count("\n", self.position, end)
        self.position = end
        return value

    def whole_value(self, decoder: json.JSONDecoder) -> tuple[Any, int] | None:
        """The value and where it ends; None when it is not whole yet and more was read."""
        try:
            return decoder.raw_decode(self.buffer, self.position)
        except (ValueError, RecursionError):
            if not self.read_on(max(CHUNK, len(self.buffer))):
                raise
            return None


@contextmanager
def json_errors(where: str, column: bool = True) -> Iterator[None]:
    """JSON's errors as a `UserError` with the place; `column`: what was decoded is one line."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: not JSON: {error.msg}" + (f" at column {error.colno}" if column else "")
        ) from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of thousands of digits, or of nested brackets
        raise UserError(f"{where}: JSON that cannot be read: {error}") from error


def as_object(values: Any, where: str) -> dict[str, Any]:
    """The value as an object, or a `UserError`."""
    if not isinstance(values, dict):
        array = " (an array of objects is read with --file_format json)" * isinstance(values, list)
        raise UserError(f"{where}: expected a JSON object, got {type(values).__name__}{array}")
    return values
