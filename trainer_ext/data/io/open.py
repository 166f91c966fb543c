"""Opening what is read: text in UTF-8 or another encoding, BOM or not, packed or not, in one file or in numbered parts.

`rows.csv.part1.gz` is the first of the parts `rows.csv.part1.gz`, `rows.csv.part2.gz`, ... which are read as one file:
only the first has the header, and a row or a character may be cut between two of them.
"""

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from trainer_ext.arguments.files import PART, check_encoding
from trainer_ext.data.io.encodings import codec, guess, is_utf8, telling_bytes
from trainer_ext.errors import UserError

BLOCK = 1 << 17
LONGEST_LINE = 1 << 26  # bytes: a line is held in memory whole
LONGEST_FIELD = LONGEST_LINE
MOST_UNPACKED = (
    1 << 30
)  # bytes; beyond them a file that unpacks to RATIO times its size is taken for a trap
RATIO = 100
FEW = 20  # bytes that are not ASCII: so many may be UTF-8 by chance


@contextmanager
def open_text(
    path: str, newline: str | None, encoding: str = "utf-8", longest_line: int | None = LONGEST_LINE
) -> Iterator[IO[str]]:
    """Open a text file (BOM dropped, gz unpacked, parts joined) or standard input.

    Args:
        path: the file, or `-`.
        newline: as `open` has it.
        encoding: its name; `auto` looks at the bytes.
        longest_line: in bytes; None where lines are not read whole.

    Raises:
        UserError: for a file that is not there, a line beyond the limit, and a packed file that is a trap.
    """
    check_encoding(encoding)
    if path == "-":
        yield standard_input(newline, encoding, longest_line)
        return
    if encoding == "auto" or codec(encoding) != "utf-8-sig":
        with open_bytes(path) as file:
            encoding = guessed(path, file) if encoding == "auto" else not_utf8(path, file, encoding)
    with (
        open_bytes(path, longest_line) as file,
        io.TextIOWrapper(file, encoding=codec(encoding), newline=newline) as text,
    ):
        yield text


def standard_input(newline: str | None, encoding: str, longest_line: int | None) -> IO[str]:
    """Standard input, read as a file is, whatever the locale says, and as it comes."""
    if not isinstance(sys.stdin, io.TextIOWrapper):
        return sys.stdin
    file = io.BufferedReader(Bounded("-", sys.stdin.buffer, None, longest_line), BLOCK)
    encoding = guessed("-", file, peek=True) if encoding == "auto" else encoding
    return io.TextIOWrapper(file, encoding=codec(encoding), newline=newline)


def guessed(path: str, file: io.BufferedReader, peek: bool = False) -> str:
    """The encoding that `auto` stands for; says on stderr when it is not UTF-8."""
    found = guess(io.BytesIO(file.peek(BLOCK))) if peek else guess(file)
    if found is None:
        raise UserError(
            f"{path}: its encoding cannot be told from its bytes; name it with --encoding"
        )
    if found != "utf-8":
        note_once(f"note: {path} is read as {found} (encoding auto)")
    return found


def not_utf8(path: str, file: io.BufferedReader, encoding: str) -> str:
    """The encoding that was named; says on stderr when the file is UTF-8, which many read as nonsense."""
    sample = telling_bytes(file)
    if len(sample.decode("ascii", "ignore")) + FEW < len(sample) and is_utf8(sample):
        note_once(f"note: {path} is UTF-8, but is read as {encoding}, as --encoding says")
    return encoding


@cache
def note_once(text: str) -> None:
    """A line on stderr, once for a file however often it is opened."""
    print(text, file=sys.stderr)


@contextmanager
def open_bytes(path: str, longest_line: int | None = None) -> Iterator[io.BufferedReader]:
    """The unpacked bytes of a file in one or several parts."""
    with ExitStack() as stack:
        joined = Joined(parts_of(path))
        raw = stack.enter_context(io.BufferedReader(joined))
        packed = PART.sub("", path).endswith(".gz")
        if packed:
            raw = stack.enter_context(gzip.open(raw))
        yield stack.enter_context(
            io.BufferedReader(Bounded(path, raw, joined if packed else None, longest_line), BLOCK)
        )


@contextmanager
def reading_errors(path: str, encoding: str = "utf-8") -> Iterator[None]:
    """What goes wrong when a text file is read, as one line that says how to read it."""
    try:
        yield
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8" else encoding
        what = (
            f"byte {error.object[error.start]:#04x} ({error.reason})"
            if error.object[error.start :]
            else error.reason
        )
        raise UserError(
            f"{path} is not {name} text: {what}{how_to_read(path, encoding)}"
        ) from error
    except UnicodeError as error:  # UTF-16 without a mark, where one is needed
        raise UserError(
            f"{path} is not {encoding} text: {error}{how_to_read(path, encoding)}"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def how_to_read(path: str, encoding: str) -> str:
    """What the file probably is, and the flag that reads it."""
    if path == "-":
        return "; --encoding names another one"
    with open_bytes(path) as file:
        found = guess(file)
    if found is None or found == encoding:
        return "; --encoding names another one"
    return f"; it is probably {found}: --encoding {found} reads it"


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
    numbers = sorted(
        int(match[1])
        for file in Path(path).parent.iterdir()
        if (match := pattern.fullmatch(file.name))
    )
    if int(found[1]) != 1:
        raise UserError(
            f"{path} is part {found[1]} of a file: give {before}.part1{after}, which reads all parts"
        )
    if numbers != list(range(1, len(numbers) + 1)):
        raise UserError(f"{path}: a part is missing, there are only {', '.join(map(str, numbers))}")
    return [f"{before}.part{number}{after}" for number in numbers]


def check_file(path: str) -> None:
    """Raise `UserError` unless `path` is a file."""
    place = Path(path)
    if place.is_file():
        return
    if not place.exists():
        raise UserError(
            f"{path} does not exist" + " (a link that leads nowhere)" * place.is_symlink()
        )
    pipe = " (standard input, -, reads what comes through a pipe)" * (not place.is_dir())
    raise UserError(f"{path} is not a file{pipe}")


class Bounded(io.RawIOBase):
    """Bytes of which no line, and no packed file, is so large that reading it would fill the memory or the day."""

    def __init__(
        self,
        path: str,
        source: io.BufferedIOBase,
        packed: "Joined | None",
        longest_line: int | None,
    ):
        self.path, self.source, self.packed, self.longest_line = path, source, packed, longest_line
        self.total = self.line = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer) -> int:
        """As `io.RawIOBase` has it."""
        data = self.source.read1(
            len(buffer)
        )  # what is there: who writes into a pipe waits for answers
        buffer[: len(data)] = data
        self.total += len(data)
        end = data.rfind(b"\n")
        self.line = self.line + len(data) if end < 0 else len(data) - end - 1
        if self.longest_line is not None and self.line > self.longest_line:
            raise UserError(
                f"{self.path}: a line of more than {self.longest_line >> 20} MiB is no row of text"
            )
        if (
            self.packed is not None
            and self.total > MOST_UNPACKED
            and self.total > RATIO * self.packed.total
        ):
            raise UserError(
                f"{self.path} unpacks to more than {RATIO} times its size ({self.total >> 20} MiB and more): if that "
                "is right, give the unpacked file"
            )
        return len(data)


class Joined(io.RawIOBase):
    """The bytes of several files, one behind the other."""

    def __init__(self, paths: list[str]):
        self.left, self.total = list(paths), 0
        self.current = open(self.left.pop(0), "rb", buffering=0)  # noqa: SIM115 (closed in close)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer) -> int:
        """As `io.RawIOBase` has it."""
        while not (count := self.current.readinto(buffer)) and self.left:
            self.current.close()
            self.current = open(self.left.pop(0), "rb", buffering=0)  # noqa: SIM115
        self.total += count
        return count

    def close(self) -> None:
        """Close the file that is open."""
        self.current.close()
        super().close()
