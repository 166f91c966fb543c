"""Writing files and folders whole or not at all (write beside, then rename), and reading JSON.

What is being written lies in a folder `.NAME.trainer-ext-RANDOM.tmp` beside its place, which its writer keeps locked.
The lock ends with the process, however that ends: what a killed writer left is removed by the next one there.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from trainer_ext.errors import UserError

SCRATCH = re.compile(r"\..*\.trainer-ext-[0-9a-f]{16}\.tmp")
LONGEST_NAME = 40  # characters of a name that are repeated in its scratch folder's: file names end at 255 bytes


@contextmanager
def scratch_folder(target: str | os.PathLike) -> Iterator[Path]:
    """A new folder beside `target`, to fill and to rename or to move files out of; gone when the block ends.

    Folders that killed writers left beside `target` are removed first.
    """
    target = Path(target).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_dead(target.parent)
    folder, lock = new_locked_folder(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def new_locked_folder(target: Path) -> tuple[Path, int]:
    """A scratch folder for `target`, and the file descriptor that locks it."""
    while True:
        folder = target.with_name(
            f".{target.name[:LONGEST_NAME]}.trainer-ext-{secrets.token_hex(8)}.tmp"
        )
        folder.mkdir()
        # Between these lines another writer may take the folder for a dead one: then a new one is made.
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: nothing is ever removed there
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def remove_dead(parent: Path) -> None:
    """Remove scratch folders whose writers are no more; whatever else is there stays."""
    dead = []
    with (
        suppress(PermissionError),
        os.scandir(parent) as entries,
    ):  # some folders can be written but not listed
        dead = [Path(entry.path) for entry in entries if SCRATCH.fullmatch(entry.name)]
    for folder in dead:
        with suppress(OSError):
            remove_unless_locked(folder)


def remove_unless_locked(folder: Path) -> None:
    """Remove a folder, or raise `OSError` when its writer lives or it cannot be locked."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A path to write a file to, of the same name; it becomes `path` only when the block ends without an error."""
    path = Path(path)
    with scratch_folder(path) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def atomic_writer(path: str | os.PathLike, newline: str | None = None) -> Iterator[TextIO]:
    """Open `path` for writing UTF-8 text; it appears under its name only when the block ends without an error."""
    if is_stream(path):
        with open(path, "w", encoding="utf-8", newline=newline) as file:
            yield file
        return
    with atomic_path(path) as beside, open(beside, "w", encoding="utf-8", newline=newline) as file:
        yield file


def is_stream(path: str | os.PathLike) -> bool:
    """Whether a path names a device or a pipe (`/dev/null`, `>(...)`), which a file must not take the place of."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


def check_folder(flag: str, folder: Path) -> None:
    """Raise `UserError` unless files can be written into a folder, which need not be there yet; makes nothing."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if is_there(path))
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise UserError(
            f"{flag} {folder} is no folder that can be written: {error.strerror or error}"
        ) from None


def share_weights(folder: Path) -> None:
    """Let the weights in a folder be read by whom config.json may be: safetensors writes them for their owner alone."""
    mode = stat.S_IMODE((folder / "config.json").stat().st_mode)
    for path in folder.glob("*.safetensors"):
        path.chmod(mode)


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
    write_text(path, json_text(value, indent=2) + "\n")


def json_text(value: Any, **options: Any) -> str:
    """`value` as JSON that every parser reads: NaN and infinity, for which JSON has no words, are null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    except ValueError:  # rare: the detour is taken only then
        plain = json.loads(json.dumps(value, **options), parse_constant=lambda word: None)
        return json.dumps(plain, ensure_ascii=False, **options)


def read_json(path: Path) -> Any:
    """Parsed JSON, or a `UserError` naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
