"""Writing files whole or not at all (write beside, then rename), and reading JSON."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from trainer_ext.errors import UserError


@contextmanager
def atomic_writer(path: str | os.PathLike, newline: str | None = None) -> Iterator[TextIO]:
    """Open `path` for writing UTF-8 text; it appears under its name only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "w", encoding="utf-8", newline=newline) as file:
            yield file
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def check_folder(flag: str, folder: Path) -> None:
    """Raise `UserError` unless files can be written into a folder, which need not be there yet; makes nothing."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if is_there(path))
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise UserError(f"{flag} {folder} is no folder that can be written: {error.strerror or error}") from None


def is_there(path: Path) -> bool:
    """Whether something has this name; an `OSError` when nothing can."""
    try:
        path.lstat()
        return True
    except FileNotFoundError:
        return False


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_writer(path) as file:
        file.write(text)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON, or a `UserError` naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
