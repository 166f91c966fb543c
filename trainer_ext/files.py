"""Write files and folders atomically (write beside, then rename), and read and write JSON.

A file or folder is written in a scratch folder `.NAME.trainer-ext-RANDOM.tmp` beside its final place, and its writer
holds a lock on that folder. The lock ends with the process, however that ends, so the next writer in the same parent
folder can tell what a killed writer left behind, and removes it.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from trainer_ext.errors import UserError

SCRATCH = re.compile(r"\..*\.trainer-ext-[0-9a-f]{16}\.tmp")
# File names end at 255 bytes, and a character takes up to 4: a long name is not repeated in full.
LONGEST_NAME = 40
HASHED_BLOCK = 1 << 20  # bytes in memory at a time


@contextmanager
def scratch_folder(target: str | os.PathLike) -> Iterator[Path]:
    """Yield a new folder beside `target`, to fill and to move files out of; it is removed when the block ends.

    Scratch folders that killed writers left beside `target` are removed first.
    """
    target = Path(target).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent)
    folder, lock = new_locked_folder(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def new_locked_folder(target: Path) -> tuple[Path, int]:
    """Make a scratch folder for `target`; return it and the file descriptor that locks it."""
    while True:
        random = os.urandom(8).hex()
        folder = target.with_name(f".{target.name[:LONGEST_NAME]}.trainer-ext-{random}.tmp")
        folder.mkdir()
        # Before the lock is held, another writer may take the folder for an abandoned one and remove it: try again.
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            # On a file system without locks nothing is ever taken for abandoned.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """Remove the scratch folders in `parent` whose writers have ended; everything else stays."""
    found = []
    # Some folders can be written to but not listed.
    with suppress(PermissionError), os.scandir(parent) as entries:
        found = [Path(entry.path) for entry in entries if SCRATCH.fullmatch(entry.name)]
    for folder in found:
        with suppress(OSError):
            remove_unless_locked(folder)


def remove_unless_locked(folder: Path) -> None:
    """Remove a folder, or raise `OSError` if its writer is alive or it cannot be locked."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path of the same name to write a file to; it becomes `path` if the block ends without an error."""
    path = Path(path)
    with scratch_folder(path) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty folder of the same name to fill; it replaces `path` if the block ends without an error."""
    path = Path(path)
    with scratch_folder(path) as folder:
        filled = folder / path.name
        filled.mkdir()
        yield filled
        # A folder that holds something cannot be replaced in one step, as a file can.
        remove_tree(path)
        os.replace(filled, path)


@contextmanager
def atomic_writer(path: str | os.PathLike, newline: str | None = None) -> Iterator[TextIO]:
    """Open `path` to write UTF-8 text; it appears under its name if the block ends without an error."""
    if is_stream(path):
        with open(path, "w", encoding="utf-8", newline=newline) as file:
            yield file
        return
    with atomic_path(path) as beside, open(beside, "w", encoding="utf-8", newline=newline) as file:
        yield file


def is_stream(path: str | os.PathLike) -> bool:
    """Return whether a path names a device or a pipe (`/dev/null`, `>(...)`), which no file may replace."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


def remove_tree(path: Path) -> None:
    """Remove a folder or a file if it exists; of a symbolic link, the link only."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_folder(flag: str, folder: Path) -> None:
    """Check that files can be written to a folder, which need not exist yet; make nothing.

    Raises:
        UserError: naming the flag and the folder, if they cannot.
    """
    import tempfile  # with hashes and random numbers, which little else here needs

    try:
        nearest = next(path for path in (folder, *folder.parents) if name_is_taken(path))
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise UserError(
            f"{flag} {folder} is not a folder that can be written to: {error.strerror or error}"
        ) from None


def share_weights(folder: Path) -> None:
    """Give the weights in a folder the mode of its config.json: safetensors lets only their owner read them."""
    mode = stat.S_IMODE((folder / "config.json").stat().st_mode)
    for path in folder.glob("*.safetensors"):
        path.chmod(mode)


def name_is_taken(path: Path) -> bool:
    """Return whether a file, folder or link has this name.

    `Path.exists` would follow a link, and answer False for a name that nothing can have.

    Raises:
        OSError: if nothing can have this name (it is too long, or a parent is a file).
    """
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
    """Return `value` as JSON that every parser reads: NaN and infinity, which JSON does not have, become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    except ValueError:
        # Rare, so only such values pay for being written, read and written again.
        text = json.dumps(value, **options)
        finite = json.loads(text, parse_constant=lambda constant: None)
        return json.dumps(finite, ensure_ascii=False, **options)


def file_sha256(path: str | os.PathLike) -> str:
    """Return the hex sha256 of a file's content."""
    digest = hashlib.sha256()
    # In blocks: a model's weights need not fit into memory. `hashlib.file_digest` is of Python 3.11.
    with open(path, "rb") as file:
        while block := file.read(HASHED_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_object(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file that need not be there; empty without one, or if it holds something else.

    Raises:
        UserError: naming the file, if it is not valid JSON.
    """
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, Mapping):
        return {}
    return content


def read_json(path: Path) -> Any:
    """Return parsed JSON.

    Raises:
        UserError: naming the file, if it is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
