"""Open what is read: text in UTF-8 or another encoding, with or without a BOM, packed or not, in one file or in parts.

`rows.csv.part1.gz` is the first of the parts `rows.csv.part1.gz`, `rows.csv.part2.gz`, ... which are read as one file:
only the first has the header, and a row or a character may be cut between two of them.
"""

import gzip
import io
import logging
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from trainer_ext.arguments.files import PART, check_encoding
from trainer_ext.data.io.encodings import (
    binary_kind,
    codec_name,
    detect_encoding,
    is_utf8,
    sample_of,
)
from trainer_ext.errors import UserError

logger = logging.getLogger(__name__)

BLOCK = 1 << 17
LONGEST_LINE = 1 << 26  # bytes: a line is held in memory whole
LONGEST_FIELD = LONGEST_LINE
# A file that unpacks to more bytes than this, and to RATIO times its size, is taken for a zip bomb.
MOST_UNPACKED = 1 << 30
RATIO = 100
FEW = 20  # bytes that are not ASCII: this many may be UTF-8 by chance


@contextmanager
def open_text(path: str, newline: str | None, encoding: str = "utf-8") -> Iterator[IO[str]]:
    """Open a text file (BOM dropped, gz unpacked, parts joined) or standard input; a file is opened once.

    Args:
        path: the file, or `-`.
        newline: as in `open`.
        encoding: its name; `auto` looks at the bytes.

    Raises:
        UserError: for a file that does not exist, a line beyond the limit, and a packed file that is a zip bomb.
    """
    check_encoding(encoding)
    if path == "-":
        yield standard_input(newline, encoding)
        return
    with PartsReader(parts_of(path)) as parts:
        if encoding == "auto" or codec_name(encoding) != "utf-8-sig":
            with unpacked(path, parts, longest_line=None) as file:
                encoding = choose_encoding(path, sample_of(file), encoding)
            parts.rewind()
        with (
            unpacked(path, parts, LONGEST_LINE) as file,
            io.TextIOWrapper(file, encoding=codec_name(encoding), newline=newline) as text,
        ):
            yield text


def standard_input(newline: str | None, encoding: str) -> IO[str]:
    """Return standard input to be read as a file is, whatever the locale, and as it comes."""
    # A notebook's or a test's standard input has no bytes beneath its text.
    if not isinstance(sys.stdin, io.TextIOWrapper):
        return sys.stdin
    file = io.BufferedReader(LimitedReader("-", sys.stdin.buffer, None, LONGEST_LINE), BLOCK)
    if encoding == "auto":
        # It cannot be rewound: the sample is what has come so far.
        sample = sample_of(io.BytesIO(file.peek(BLOCK)))
        encoding = choose_encoding("-", sample, encoding)
    return io.TextIOWrapper(file, encoding=codec_name(encoding), newline=newline)


def allow_long_lines(file: IO[str]) -> None:
    """Lift the limit on the lines of a file that `open_text` opened: JSON arrays are often one line."""
    reader = getattr(getattr(file, "buffer", None), "raw", None)
    if isinstance(reader, LimitedReader):
        reader.longest_line = None


def choose_encoding(path: str, sample: bytes, encoding: str) -> str:
    """Return the encoding to read a file in, from its name or `auto`; log it if it may surprise.

    Raises:
        UserError: if it is `auto` and the bytes fit no encoding.
    """
    if encoding != "auto":
        non_ascii = len(sample) - len(sample.decode("ascii", "ignore"))
        if non_ascii > FEW and is_utf8(sample):
            log_once(f"{path} is UTF-8, but is read as {encoding}, as --encoding says")
        return encoding
    found = detect_encoding(sample)
    if found is None:
        raise UserError(
            f"{path}: its encoding cannot be told from its bytes; name it with --encoding"
        )
    if found != "utf-8":
        log_once(f"{path} is read as {found} (encoding auto)")
    return found


# Streaming opens the training file anew in every epoch.
@cache
def log_once(text: str) -> None:
    """Log a note once, however often its file is opened."""
    logger.info(text)


@contextmanager
def unpacked(
    path: str,
    parts: "PartsReader",
    longest_line: int | None,
) -> Iterator[io.BufferedReader]:
    """Yield a reader of the unpacked bytes; `parts` stays open."""
    joined = io.BufferedReader(parts)
    try:
        if PART.sub("", path).endswith(".gz"):
            reader = LimitedReader(
                path, gzip.GzipFile(fileobj=joined, mode="rb"), parts, longest_line
            )
        else:
            reader = LimitedReader(path, joined, None, longest_line)
        yield io.BufferedReader(reader, BLOCK)
    finally:
        # A buffered reader closes what it reads from when it is freed, unless they are parted.
        joined.detach()


@contextmanager
def reading_errors(path: str, encoding: str = "utf-8") -> Iterator[None]:
    """Raise what goes wrong when a text file is read as a `UserError` that says how to read it."""
    try:
        yield
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8" else encoding
        reason = error.reason
        if error.start < len(error.object):
            reason = f"byte {error.object[error.start]:#04x} ({error.reason})"
        raise UserError(
            f"{path} is not {name} text: {reason}{encoding_hint(path, encoding)}"
        ) from error
    except UnicodeError as error:  # UTF-16 without the BOM that it needs
        raise UserError(
            f"{path} is not {encoding} text: {error}{encoding_hint(path, encoding)}"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def encoding_hint(path: str, encoding: str) -> str:
    """Return what the file probably is, and the flag that reads it."""
    hint = "; --encoding names another one"
    if path == "-":
        return hint
    with PartsReader(parts_of(path)) as parts, unpacked(path, parts, None) as file:
        sample = sample_of(file)
    kind = binary_kind(sample)
    if kind is not None:
        return f"; it is {kind}"
    found = detect_encoding(sample)
    if found is None or found == encoding:
        return hint
    return f"; it is probably {found}: --encoding {found} reads it"


def row_place(path: str, row: int, line: int) -> str:
    """Return where a row stands, for messages; both numbers count from 1, and blank lines are not rows."""
    return f"{path}, row {row} (line {line})"


def parts_of(path: str) -> list[str]:
    """Return the file itself, or all parts in order if it is the first of them.

    Raises:
        UserError: if it does not exist, is a later part (whose first row is not a header), or a part is missing.
    """
    check_file(path)
    found = PART.search(path)
    if found is None:
        return [path]
    before, after = path[: found.start()], path[found.end() :]
    if int(found[1]) != 1:
        raise UserError(
            f"{path} is part {found[1]} of a file: give {before}.part1{after}, which reads all parts"
        )
    numbers = part_numbers(Path(before), after)
    if numbers != list(range(1, len(numbers) + 1)):
        raise UserError(f"{path}: a part is missing, there are only {', '.join(map(str, numbers))}")
    return [f"{before}.part{number}{after}" for number in numbers]


def part_numbers(before: Path, after: str) -> list[int]:
    """Return the numbers of the parts that exist of `BEFORE.partN AFTER`, ascending."""
    pattern = re.compile(re.escape(before.name) + r"\.part(\d+)" + re.escape(after))
    numbers = []
    for file in before.parent.iterdir():
        match = pattern.fullmatch(file.name)
        if match:
            numbers.append(int(match[1]))
    return sorted(numbers)


def check_file(path: str) -> None:
    """Raise `UserError` unless `path` is a file."""
    place = Path(path)
    if place.is_file():
        return
    if place.is_dir():
        raise UserError(f"{path} is not a file")
    if place.exists():
        raise UserError(
            f"{path} is not a file (standard input, -, reads what comes through a pipe)"
        )
    if place.is_symlink():
        raise UserError(f"{path} does not exist (a link that leads nowhere)")
    raise UserError(f"{path} does not exist")


class LimitedReader(io.RawIOBase):
    """Bytes with a limit on their lines and on what they unpack to, so that no file fills the memory or the day.

    Args:
        path: named in errors.
        source: what is read.
        packed: the file that `source` unpacks; None for a file that is not packed.
        longest_line: in bytes; None for no limit.
    """

    def __init__(
        self,
        path: str,
        source: io.BufferedIOBase,
        packed: "PartsReader | None",
        longest_line: int | None,
    ):
        self.path = path
        self.source = source
        self.packed = packed
        self.longest_line = longest_line
        self.total = 0
        self.line = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer) -> int:
        """Read as `io.RawIOBase.readinto` does.

        Raises:
            UserError: beyond a limit.
        """
        # `read1` gives what has come so far: whoever writes into a pipe line by line waits for answers.
        data = self.source.read1(len(buffer))
        buffer[: len(data)] = data
        self.check_line(data)
        self.check_size(data)
        return len(data)

    def check_line(self, data: bytes) -> None:
        """Count the bytes since the last line break; raise `UserError` if there are too many."""
        end = data.rfind(b"\n")
        if end < 0:
            self.line += len(data)
        else:
            self.line = len(data) - end - 1
        if self.longest_line is not None and self.line > self.longest_line:
            raise UserError(
                f"{self.path}: a line of more than {self.longest_line >> 20} MiB is not a row of text"
            )

    def check_size(self, data: bytes) -> None:
        """Count the bytes; raise `UserError` for a packed file that unpacks to too many."""
        self.total += len(data)
        if self.packed is None or self.total <= MOST_UNPACKED:
            return
        if self.total > RATIO * self.packed.total:
            raise UserError(
                f"{self.path} unpacks to more than {RATIO} times its size ({self.total >> 20} MiB and more): if that "
                "is right, give the unpacked file"
            )


class PartsReader(io.RawIOBase):
    """The bytes of several files, one after the other; `total` counts those that were read."""

    def __init__(self, paths: list[str]):
        self.paths = paths
        self.open_part(0)
        self.total = 0

    def open_part(self, number: int) -> None:
        """Go on with the part of this number, from 0."""
        self.number = number
        self.current = open(self.paths[number], "rb", buffering=0)  # noqa: SIM115 (closed in close)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer) -> int:
        """Read as `io.RawIOBase.readinto` does."""
        count = self.current.readinto(buffer)
        # A part may be empty, so the next one that has something counts.
        while not count and self.number + 1 < len(self.paths):
            self.current.close()
            self.open_part(self.number + 1)
            count = self.current.readinto(buffer)
        self.total += count
        return count

    def rewind(self) -> None:
        """Go back to the start, with the first file still open if it is the current one."""
        if self.number == 0:
            self.current.seek(0)
        else:
            self.current.close()
            self.open_part(0)
        self.total = 0

    def close(self) -> None:
        """Close the file that is open."""
        self.current.close()
        super().close()
