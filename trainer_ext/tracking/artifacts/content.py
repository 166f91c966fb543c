"""Files by their content: digests, whether a folder holds what it should, and names that stay inside of it.

Imports the standard library only.
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from trainer_ext.errors import UserError
from trainer_ext.files import file_sha256


def sha256_of(source: Path | bytes) -> str:
    """Return the hex sha256 of a file's content, or of content."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    return file_sha256(source)


def content_digest(sha256s: Mapping[str, str]) -> str:
    """Return one digest for a set of files: sha256 over their names and sha256s in the order of the names."""
    # NUL and line break cannot stand in a name (`check_inside`), so that two sets of files never give the same text.
    lines = [f"{name}\0{sha256s[name]}\n" for name in sorted(sha256s)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_intact(path: Path, sha256: str) -> bool:
    """Return whether a file, not a link to one, has this content."""
    try:
        return path.is_file() and not path.is_symlink() and sha256_of(path) == sha256
    except OSError:
        return False


def holds_exactly(folder: Path, sha256s: Mapping[str, str]) -> bool:
    """Return whether a folder, not a link to one, holds these files and nothing else."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = set()
    for path in folder.rglob("*"):
        # A link to a folder counts as a file, which no artifact has.
        if path.is_symlink() or not path.is_dir():
            names.add(path.relative_to(folder).as_posix())
    if names != set(sha256s):
        return False
    return all(is_intact(folder / name, sha256) for name, sha256 in sha256s.items())


def check_inside(name: str) -> None:
    """Raise `UserError` for a file name that leads out of its folder, or that is not written in the shortest way."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise UserError(f"artifact file {name!r} leads out of the artifact")
    # `a//b` and `./a` are other names for the same file; a backslash separates folders on Windows.
    if str(path) != name or "\\" in name or not name.isprintable():
        raise UserError(f"artifact file {name!r} is not a plain name")


def check_files(names: Collection[str]) -> None:
    """Raise `UserError` unless all of these can lie in one folder: each inside it, none a folder of another."""
    for name in names:
        check_inside(name)
        for parent in PurePosixPath(name).parents:
            if str(parent) in names:
                raise UserError(f"artifact file {name!r}: {str(parent)!r} is a file as well")


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link, or a copy if the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
