"""Opening what is read: UTF-8 text with or without BOM, packed or not, in one file or in numbered parts.

`rows.csv.part1.gz` is the first of the parts `rows.csv.part1.gz`, `rows.csv.part2.gz`, ... which are read as one file:
only the first has the header, and a row or a character may be cut between two of them.
"""

import gzip
import io
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from trainer_ext.errors import UserError
from trainer_ext.file_options import PART


@contextmanager
def open_text(path: str, newline: str | None) -> Iterator[IO[str]]:
    """Open a text file (UTF-8, BOM dropped, gz unpacked, parts joined) or standard input."""
    if path == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):  # read as a file is, whatever the locale says
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict", newline=newline)
        yield sys.stdin
        return
    with ExitStack() as stack:
        raw = stack.enter_context(io.BufferedReader(Joined(parts_of(path))))
        if PART.sub("", path).endswith(".gz"):
            raw = stack.enter_context(gzip.open(raw))
        yield stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=newline))


def parts_of(path: str) -> list[str]:
    """The file itself, or all parts in order when it is the first of them.

    Raises:
        UserError: when it is not there, is a later part (whose first row is no header), or a part is missing.
    """
    check_file(path)
    found = PART.search(path)
    if found is None:
        return [path]
    before, after = path[: found.start()], path[found.end() :]
    pattern = re.compile(re.escape(Path(before).name) + r"\.part(\d+)" + re.escape(after))
    numbers = sorted(int(match[1]) for file in Path(path).parent.iterdir() if (match := pattern.fullmatch(file.name)))
    if int(found[1]) != 1:
        raise UserError(f"{path} is part {found[1]} of a file: give {before}.part1{after}, which reads all parts")
    if numbers != list(range(1, len(numbers) + 1)):
        raise UserError(f"{path}: a part is missing, there are only {', '.join(map(str, numbers))}")
    return [f"{before}.part{number}{after}" for number in numbers]


def check_file(path: str) -> None:
    """Raise `UserError` unless `path` is a file."""
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist" if not Path(path).exists() else f"{path} is not a file")


class Joined(io.RawIOBase):
    """The bytes of several files, one behind the other."""

    def __init__(self, paths: list[str]):
        self.left = list(paths)
        self.current = open(self.left.pop(0), "rb", buffering=0)  # noqa: SIM115 (closed in close)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer) -> int:
        """As `io.RawIOBase` has it."""
        while not (count := self.current.readinto(buffer)) and self.left:
            self.current.close()
            self.current = open(self.left.pop(0), "rb", buffering=0)  # noqa: SIM115
        return count

    def close(self) -> None:
        """Close the file that is open."""
        self.current.close()
        super().close()
