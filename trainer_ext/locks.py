"""Locks between the processes of a machine. Imports the standard library only."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from trainer_ext.errors import UserError

LOCK = ".lock"  # in the folder of a run: held while it trains


@contextmanager
def file_lock(path: Path, keep: bool = True) -> Iterator[None]:
    """Hold the lock of a file, one process or thread at a time; the kernel frees the lock of a killed one.

    Args:
        path: made if it does not exist; its content is left alone.
        keep: whether it stays at the end.

    Raises:
        UserError: if a symbolic link has its name, which may lead anywhere.
    """
    while True:
        with open_to_lock(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held it may have removed it since: then the lock is that of no file.
            if not is_still_at(path, file.fileno()):
                continue
            try:
                yield
            finally:
                if not keep:
                    path.unlink(missing_ok=True)
            return


def open_to_lock(path: Path) -> IO[str]:
    """Open a lock file, making it and its folder.

    Raises:
        UserError: if it is a symbolic link.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            raise UserError(f"{path} is a symbolic link; remove it")
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        # The holder of the lock may remove the folder in between: then it is made again.
        with suppress(FileNotFoundError):
            return os.fdopen(os.open(path, flags, 0o666), "r+")


def is_still_at(path: Path, descriptor: int) -> bool:
    """Return whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def held(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of a file, which stays, or give up at once.

    Raises:
        UserError: with `refusal`, if another process holds it.
    """
    with open_to_lock(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(refusal) from None
        yield
