"""Write an output that an interrupted run can go on with, byte for byte as if it had not been interrupted.

While `answers.jsonl` is written, its folder `answers.jsonl.partial` holds the file so far, and `state.json`, which says
how many rows of it, and how many bytes, are safe on the disk, and what they are answers to. The bytes are synced before
the state names them, and the state is renamed into place: whenever the process or the machine dies, the state is true,
and what the file has beyond it is cut off by the run that goes on.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from trainer_ext.data.io.csv_writer import CsvWriter
from trainer_ext.errors import UserError
from trainer_ext.files import json_text

STATE = "state.json"
NEXT_STATE = "state.json.new"
# Between two states: a second's answers are soon given again, and syncing takes milliseconds.
INTERVAL = 1.0  # seconds
# Of the time, at most: on a slow disk states are rarer.
SHARE = 0.05
ANEW = "; without --resume all rows are answered anew"
# What to say of a change whose values would say nothing.
CHANGES = {
    "input": "the input has changed since",
    "model": "the model has changed since",
    "sample submission": "the sample submission is another one",
}
Identity = Mapping[str, Any]
"""What decides on every byte of an output, by name, as JSON has it."""

logger = logging.getLogger(__name__)


class Writer(Protocol):
    """Writes records into an open file."""

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write one record."""

    def note_formulas(self) -> None:
        """Say at the end what a reader of the file should know."""

    def counts(self) -> dict[str, int]:
        """Return what `restore` needs to go on as if there had been one writer only."""

    def restore(self, counts: Mapping[str, int]) -> None:
        """Take over the counts of the writer of an interrupted run."""


class JsonLines:
    """Records as JSON objects, one a line: what was written before has no say in the next one."""

    def __init__(self, file: TextIO):
        self.file = file

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write one record."""
        self.file.write(json_text(record, default=str) + "\n")

    def note_formulas(self) -> None:
        """Say nothing: no spreadsheet opens this."""

    def counts(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    def restore(self, counts: Mapping[str, int]) -> None:
        """Take nothing over."""


@dataclass(frozen=True)
class State:
    """How much of an output is safe on the disk.

    Attributes:
        rows: that are written.
        bytes: of the file up to there.
        identity: what these rows are answers to.
        counts: of the writer.
    """

    rows: int = 0
    bytes: int = 0
    identity: Identity = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


class PartialOutput:
    """An output that is being written.

    Args:
        target: the file that it becomes.
        folder: where it lies until then.
        state: of an interrupted run, or that of none.
        identify: says what the answers are answers to; called before the first state is kept, as it reads large files.

    Attributes:
        rows: that are written.
        saved: the last state that was kept.
    """

    def __init__(self, target: Path, folder: Path, state: State, identify: Callable[[], Identity]):
        self.target = target
        self.folder = folder
        self.saved = state
        self.rows = state.rows
        self.identify = identify
        self._file = open_at(folder / target.name, state.bytes)
        self._writer: Writer = JsonLines(self._file)
        if target.suffix.lower() == ".csv":
            self._writer = CsvWriter(self._file, str(target), quote_text=True)
        self._writer.restore(state.counts)
        self._next_save = time.monotonic() + INTERVAL

    def write(self, records: Iterable[Mapping[str, Any]], window: int) -> None:
        """Write records, and keep the state now and then.

        Args:
            records: those behind the rows that are written already.
            window: a state is kept after a multiple of so many rows only. Rows of one window are answered together, and
                a run that goes on has to put the same ones together.
        """
        for record in records:
            self._writer.write_record(record)
            self.rows += 1
            if self.rows % window == 0 and time.monotonic() >= self._next_save:
                self.save()

    def save(self) -> None:
        """Keep the state: what is written so far survives whatever happens to the process or the machine."""
        start = time.monotonic()
        identity = self.saved.identity or self.identify()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.buffer.tell()
        state = State(self.rows, size, identity, self._writer.counts())
        write_state(self.folder, state)
        self.saved = state
        end = time.monotonic()
        self._next_save = end + max(INTERVAL, (end - start) / SHARE)

    def finish(self) -> None:
        """Give the file its name, and remove what is kept beside it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.folder / self.target.name, self.target)
        # The name first: without it, a machine that dies here would have neither file nor state.
        sync_folder(self.target.parent)
        remove_partial(self.folder, self.target.name)
        self._writer.note_formulas()

    def close(self) -> None:
        """Close the file of a run that was interrupted."""
        # The disk may be full: what is in the buffer cannot be written, and is not needed.
        with suppress(OSError):
            self._file.close()


@contextmanager
def partial_output(
    path: str,
    identify: Callable[[], Identity],
    resume: bool,
) -> Iterator[PartialOutput]:
    """Open an output to write; it gets its name if the block ends without an error.

    What an interrupted run has written stays; after bad input (`UserError`) nothing does.

    Args:
        path: the output; csv by its ending, else jsonl.
        identify: says what decides on the answers.
        resume: whether to go on with the output of an interrupted run, if there is one.

    Raises:
        UserError: if it is of another input, model or form, or if another process writes the same output.
    """
    target = Path(path).absolute()
    folder = partial_folder(target)
    with locked_folder(folder, path):
        state = State()
        if resume:
            state = find_state(folder, path, identify)
        elif (folder / STATE).exists():
            logger.info("%s, of an interrupted run, is removed: all rows are answered anew", folder)
        if not state.rows:
            remove_state(folder)
        output = PartialOutput(target, folder, state, identify)
        try:
            yield output
        except BaseException as error:
            output.close()
            keep_or_remove(output, error)
            raise
        output.finish()


def partial_folder(target: Path) -> Path:
    """Return where an output lies until it is complete."""
    return target.with_name(f"{target.name}.partial")


def find_state(folder: Path, path: str, identify: Callable[[], Identity]) -> State:
    """Return the state to go on from; that of no rows if nothing was kept.

    Raises:
        UserError: if what was kept is of another input, model or form.
    """
    state = read_state(folder)
    data = folder / Path(path).name
    if state is None:
        logger.info("%s: there is no interrupted run to go on with; all rows are answered", path)
        return State()
    if not data.is_file() or data.stat().st_size < state.bytes:
        logger.warning("%s has lost what its state speaks of: all rows are answered anew", folder)
        return State()
    check_identity(folder, state.identity, identify())
    logger.info("%s: %d rows are answered already; going on behind them", path, state.rows)
    return state


def check_identity(folder: Path, before: Identity, now: Identity) -> None:
    """Raise `UserError` unless the answers kept are what this run would give."""
    # As it was read from JSON, where a tuple is a list.
    now = json.loads(json.dumps(now))
    for name in {**before, **now}:
        if before.get(name) == now.get(name):
            continue
        change = f"{name} was {before.get(name)}, and is {now.get(name)} now"
        change = CHANGES.get(name, change)
        raise UserError(f"{folder} cannot be gone on with: {change}{ANEW}")


def keep_or_remove(output: PartialOutput, error: BaseException) -> None:
    """Decide what stays of an output that was not written to its end."""
    # Bad input stays bad: there is nothing to go on with.
    if isinstance(error, UserError) or not output.saved.rows:
        remove_partial(output.folder, output.target.name)
        return
    logger.info(
        "the first %d rows are kept in %s: the same command with --resume true goes on",
        output.saved.rows,
        output.folder,
    )


@contextmanager
def locked_folder(folder: Path, path: str) -> Iterator[None]:
    """Make a folder, unless it is there, and hold its lock, which ends with the process.

    Raises:
        UserError: if another process holds it.
    """
    lock = None
    while lock is None:
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever held the lock before may remove the folder in between.
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            take_lock(lock, path)
            if not folder.exists():
                os.close(lock)
                lock = None
    try:
        yield
    finally:
        os.close(lock)


def take_lock(lock: int, path: str) -> None:
    """Take a lock or raise `UserError`; some file systems have none, and two runs are not noticed there."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UserError(f"--output {path}: another process is writing it") from None
    except OSError as error:
        logger.debug("no lock for %s: %s", path, error)


def open_at(path: Path, size: int) -> TextIO:
    """Open a text file to go on behind its first `size` bytes; what lies beyond them is cut off."""
    # Not "r+b": the file may not be there.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    os.ftruncate(descriptor, size)
    os.lseek(descriptor, size, os.SEEK_SET)
    return open(descriptor, "w", encoding="utf-8", newline="")


def read_state(folder: Path) -> State | None:
    """Return the state that an interrupted run kept; None if it kept none."""
    try:
        content = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return State(**content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        logger.warning("%s cannot be read", folder / STATE)
        return None


def write_state(folder: Path, state: State) -> None:
    """Replace the state in one step, by one that is on the disk."""
    with open(folder / NEXT_STATE, "w", encoding="utf-8") as file:
        file.write(json_text(asdict(state), indent=2))
        file.flush()
        os.fsync(file.fileno())
    os.replace(folder / NEXT_STATE, folder / STATE)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_state(folder: Path) -> None:
    """Remove a state, and see to it that it is gone before anything else is written that it could speak of."""
    for file in (STATE, NEXT_STATE):
        (folder / file).unlink(missing_ok=True)
    sync_folder(folder)


def remove_partial(folder: Path, name: str) -> None:
    """Remove the folder of an output with all that is ours in it; a file of someone else's stays."""
    remove_state(folder)
    (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
