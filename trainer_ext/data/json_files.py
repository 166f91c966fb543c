"""JSON, as lines of objects or as an array of them: (values, where) of each object in order. Streams."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from trainer_ext.data.opening import open_text
from trainer_ext.errors import UserError

CHUNK = 1 << 16
Record = tuple[dict[str, Any], str]


def read_jsonl(path: str) -> Iterator[Record]:
    """One JSON object a line; blank lines are skipped."""
    with open_text(path, newline="\n") as file:
        number = 0
        for line_number, line in enumerate(file, 1):
            if not line.strip():
                continue
            number += 1
            where = f"{path}, row {number} (line {line_number})"
            with json_errors(where):
                values = json.loads(line.rstrip())
            yield as_object(values, where), where


def read_json(path: str) -> Iterator[Record]:
    """The objects of a JSON array, decoded one by one as the file is read; lines of JSON where there is no bracket."""
    with open_text(path, newline="\n") as file:
        text = Text(file)
        if text.next() == "[":
            yield from read_array(path, text)
            return
    yield from read_jsonl(path)


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

    def __init__(self, file: IO[str]):
        self.file, self.buffer, self.position, self.line = file, "", 0, 1

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
        while True:
            try:
                value, end = decoder.raw_decode(self.buffer, self.position)
                break
            except (ValueError, RecursionError):
                if not self.read_on(max(CHUNK, len(self.buffer))):
                    raise
        self.line += self.buffer.count("\n", self.position, end)
        self.position = end
        return value


@contextmanager
def json_errors(where: str, column: bool = True) -> Iterator[None]:
    """JSON's errors as a `UserError` with the place; `column`: what was decoded is one line."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON: {error.msg}" + (f" at column {error.colno}" if column else "")) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or of nested brackets
        raise UserError(f"{where}: JSON that cannot be read: {error}") from error


def as_object(values: Any, where: str) -> dict[str, Any]:
    """The value as an object, or a `UserError`."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a JSON object, got {type(values).__name__}")
    return values
