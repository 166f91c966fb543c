"""A folder at a URL (s3://, gs://, ftp://, file:// ...) and its copy on this machine, through fsspec."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainer_ext.errors import RunError, UserError, describe_error
from trainer_ext.files import atomic_path

URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# What they say is true only when all else is there, so they go up last: a checkpoint, a training is complete.
LAST = ("trainer_state.json", "metrics.json")

Wanted = Callable[[str], bool]
"""Told a file's path in the folder, answers whether it is wanted."""


class StorageError(RunError):
    """A store that was there before does not answer, or refuses."""


def is_url(name: object) -> bool:
    """Return whether the name of a folder is a URL."""
    return URL.match(str(name)) is not None


def check_url(flag: str, url: str) -> None:
    """Refuse a URL that no other machine could read, or that would show a password in files and logs.

    Raises:
        UserError: naming the flag.
    """
    protocol, _, rest = url.partition("://")
    if protocol.lower() == "memory":
        raise UserError(f"{flag} {url}: it is the memory of one process, which others do not share")
    if "@" in rest.partition("/")[0]:
        raise UserError(
            f"{flag} has a user or password in its URL, which would stand in files and logs: give them by variables of "
            f"fsspec, such as FSSPEC_{protocol.upper()}_USERNAME and FSSPEC_{protocol.upper()}_PASSWORD"
        )


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the folder's path there.

    Raises:
        UserError: for an unknown kind of URL, and if the package that reads it is not installed.
    """
    from fsspec.core import url_to_fs  # slow to import, and few runs need it

    try:
        # A connection of one's own: not every kind may be shared by threads, or knows what others have written.
        system, root = url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: {describe_error(error)}") from error
    return system, root.rstrip("/")


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Say of which URL an error of its library is; each has types of its own."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise StorageError(f"{url}: {describe_error(error)}") from error


def everything(name: str) -> bool:
    """Want every file."""
    return True


class Storage:
    """The folder at a URL, and its copy here.

    Args:
        url: of the folder, which need not exist.
        local: the copy.
    """

    def __init__(self, url: str, local: Path):
        self.url = url
        self.local = local
        # Of each file that is the same on both sides, its time of change and size here.
        self.same: dict[str, tuple[int, int]] = {}

    def pull(self, wanted: Wanted = everything) -> None:
        """Bring files here.

        Raises:
            UserError: as `file_system` does.
            StorageError: if the store does not answer, or refuses.
        """
        with storage_errors(self.url):
            system, root = file_system(self.url)
            for name in filter(wanted, remote_files(system, root)):
                # Another process may remove a checkpoint meanwhile.
                with suppress(FileNotFoundError):
                    with atomic_path(self.local / name) as beside:
                        system.get_file(f"{root}/{name}", str(beside))
                    self.same[name] = signature(self.local / name)

    def push(self) -> None:
        """Send what is new or has changed here, then remove there what was removed here.

        Raises:
            StorageError: if the store does not answer, or refuses.
        """
        here = local_files(self.local)
        changed = [name for name, seen in here.items() if self.same.get(name) != seen]
        changed.sort(key=lambda name: name.rpartition("/")[2] in LAST)
        gone = [name for name in self.same if name not in here]
        if not changed and not gone:
            return
        with storage_errors(self.url):
            system, root = file_system(self.url)
            for name in changed:
                # Trainer may remove a checkpoint meanwhile.
                with suppress(FileNotFoundError):
                    put(system, self.local / name, f"{root}/{name}")
                    self.same[name] = here[name]
            for name in gone:
                remove(system, f"{root}/{name}")
                del self.same[name]

    def forget(self, wanted: Wanted) -> None:
        """Remove files there.

        Raises:
            StorageError: if the store does not answer, or refuses.
        """
        with storage_errors(self.url):
            system, root = file_system(self.url)
            for name in filter(wanted, remote_files(system, root)):
                system.rm_file(f"{root}/{name}")
                self.same.pop(name, None)


def remote_files(system: Any, root: str) -> list[str]:
    """Return the paths of all files in a folder, relative to it; none if there is no such folder.

    Raises:
        StorageError: for a name that leads out of the folder, which keys of a store of objects may have.
    """
    try:
        found = system.find(root)
    except FileNotFoundError:
        return []
    names = [path[len(root) :].lstrip("/") for path in found]
    for name in names:
        # A copy of it would be written beside the copy of the folder.
        if ".." in name.split("/"):
            raise StorageError(f"{root}/{name} leads out of the folder {root}")
    return names


def put(system: Any, source: Path, target: str) -> None:
    """Send one file; what marks something as complete appears whole or not at all."""
    source.stat()  # of a file that is gone, some systems would make an empty one
    # Stores of objects have no folders, and take this for done.
    system.makedirs(target.rpartition("/")[0], exist_ok=True)
    if source.name not in LAST:
        system.put_file(str(source), target)
        return
    beside = f"{target}.part"
    system.put_file(str(source), beside)
    remove(system, target)
    system.mv(beside, target)


def remove(system: Any, path: str) -> None:
    """Remove a file that may be there; of one that is not, each kind of store says so by an error of its own."""
    if system.exists(path):
        system.rm_file(path)


def local_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the signature of each file in a folder, by its path there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        # Locks and scratch folders of this machine mean nothing elsewhere; the mark of a run does.
        parts = path.relative_to(folder).parts
        is_ours_alone = any(part.endswith((".lock", ".tmp")) for part in parts)
        with suppress(FileNotFoundError):
            if path.is_file() and not is_ours_alone:
                found["/".join(parts)] = signature(path)
    return found


def signature(path: Path) -> tuple[int, int]:
    """Return the time of change of a file, in nanoseconds, and its size in bytes."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size
