"""A lock between the processes of a machine. Imports the standard library only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer_ext.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is locked
    fcntl = None


@contextmanager
def file_lock(path: Path, keep: bool = True) -> Iterator[None]:
    """Hold the lock of a file, one process or thread at a time; the kernel frees the lock of a killed one.

    Args:
        path: made when it is not there; its content is left alone.
        keep: False removes it at the end.

    Raises:
        UserError: when a symbolic link lies in its place, which may lead anywhere.
    """
    while True:
        with open_to_lock(path) as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            if not is_still_at(path, file.fileno()):  # whoever held it has removed it since
                continue
            try:
                yield
            finally:
                if not keep:
                    path.unlink(missing_ok=True)
            return


def open_to_lock(path: Path):
    """Open a lock file, which no symbolic link may stand for."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            raise UserError(f"{path} is a symbolic link; remove it")
        # the folder may be removed by the holder of the lock
        with suppress(FileNotFoundError):
            return os.fdopen(
                os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+"
            )


def is_still_at(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def held(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of a file, which stays, or give up at once.

    Raises:
        UserError: with `refusal`, when another process holds it.
    """
    with open_to_lock(path) as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(refusal) from None
        yield
