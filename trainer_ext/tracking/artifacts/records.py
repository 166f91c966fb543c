"""What the local store knows of a version and of a name, read from its JSON files and checked before it is believed.

A record may have been cut off, edited, or come with a store from elsewhere: names and digests become paths, so none is
used unchecked. Imports the standard library only.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.tracking.artifacts.content import check_files, content_digest
from trainer_ext.tracking.artifacts.scores import NAME, VERSION

SHA256 = re.compile(r"[0-9a-f]{64}")
MANIFEST = re.compile(r"v(0|[1-9]\d{0,8})\.json")
MOST_VERSIONS = 1_000_000


@dataclass(frozen=True)
class Version:
    """One version of an artifact: `files` maps a name in it to `{"sha256", "size"}`."""

    name: str
    number: int
    type: str
    digest: str
    created: str
    metadata: dict[str, Any]
    files: dict[str, dict[str, Any]]
    aliases: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.name}:v{self.number}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry["size"] for entry in self.files.values())

    @property
    def sha256s(self) -> dict[str, str]:
        """Digest of each file by its name."""
        return {name: entry["sha256"] for name, entry in self.files.items()}


def read_version(path: Path, name: str, number: int, aliases: tuple[str, ...]) -> Version:
    """A version's record.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    content = read_mapping(path)
    expect(path, content, "name", lambda value: value == name, repr(name))
    expect(
        path, content, "number", lambda value: is_integer(value) and value == number, str(number)
    )
    expect(
        path,
        content,
        "type",
        lambda value: isinstance(value, str) and bool(NAME.fullmatch(value)),
        "a word",
    )
    expect(
        path,
        content,
        "created",
        lambda value: isinstance(value, str) and value.isprintable(),
        "a date",
    )
    expect(path, content, "metadata", lambda value: isinstance(value, dict), "an object")
    metric = content["metadata"].get("metric_value")
    if metric is not None and not is_number(metric):
        raise damaged(path, f"metric_value is {shown(metric)}, expected a number")
    expect(path, content, "files", lambda value: isinstance(value, dict), "an object")
    for inside, entry in content["files"].items():
        check_entry(path, inside, entry)
    try:
        check_files(content["files"])
    except UserError as error:
        raise damaged(path, str(error)) from None
    known = {
        key: content[key] for key in ("name", "number", "type", "created", "metadata", "files")
    }
    digest = content_digest({inside: entry["sha256"] for inside, entry in content["files"].items()})
    expect(
        path, content, "digest", lambda value: value == digest, f"{digest}, the digest of its files"
    )
    return Version(**known, digest=digest, aliases=aliases)


def check_entry(path: Path, inside: str, entry: Any) -> None:
    """Raise `UserError` unless a file of a version has a sha256 and a size."""
    if not isinstance(entry, dict):
        raise damaged(path, f"file {inside!r} is {shown(entry)}, expected an object")
    sha256, size = entry.get("sha256"), entry.get("size")
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise damaged(path, f"file {inside!r}: sha256 is {shown(sha256)}, expected 64 hex digits")
    if not is_integer(size) or size < 0:
        raise damaged(path, f"file {inside!r}: size is {shown(size)}, expected a number of bytes")


def read_state(folder: Path) -> tuple[dict[str, Any], list[int]]:
    """What a name's aliases.json says, and the numbers of its versions.

    Returns:
        `{"next", "aliases", "removed"}`: the next version's number, where each alias is, and what gc took; and the
        numbers that are there and count.

    Raises:
        UserError: naming the file and what is wrong with it, also when a version is there that it does not know, or
            not there though nobody removed it.
    """
    path = folder / "aliases.json"
    before, there = bytes_of(path), numbers_in(folder)
    while bytes_of(path) != before:  # another process is storing
        before, there = bytes_of(path), numbers_in(folder)
    state = checked_state(folder, there)
    return state, sorted(number for number in there if number < state["next"])


def bytes_of(path: Path) -> bytes | None:
    """The content of a file; None when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def checked_state(folder: Path, there: set[int]) -> dict[str, Any]:
    """The content of aliases.json, which must be of the versions that are there."""
    path = folder / "aliases.json"
    if not is_there(path):
        if there:
            raise damaged(path, f"it is missing, but v{max(there)}.json is there")
        return {"next": 0, "aliases": {}, "removed": []}
    state = read_mapping(path)
    expect(
        path,
        state,
        "next",
        lambda value: is_integer(value) and 0 <= value <= MOST_VERSIONS,
        "a number of versions",
    )
    expect(path, state, "aliases", lambda value: isinstance(value, dict), "an object")
    known = range(state["next"])
    for alias, number in state["aliases"].items():
        if not NAME.fullmatch(alias) or VERSION.fullmatch(alias):
            raise damaged(path, f"{alias!r} is no alias")
        if not is_integer(number) or number not in known:
            raise damaged(
                path,
                f"alias {alias} is at {shown(number)}, expected a number below {state['next']}",
            )
    # the record of a put that was cut off is at `next`, and counts for nothing
    if there and max(there) > state["next"]:
        raise damaged(path, f"next is {state['next']}, but v{max(there)}.json is there")
    gone = sorted(set(known) - there)
    removed = state.get("removed", gone)  # stores made before it was kept
    if not isinstance(removed, list) or not all(
        is_integer(number) and number in known for number in removed
    ):
        raise damaged(
            path, f"removed is {shown(removed)}, expected a list of numbers below {state['next']}"
        )
    for number in gone:
        if number not in removed or number in state["aliases"].values():
            raise damaged(folder / f"v{number}.json", "it is missing")
    return {"next": state["next"], "aliases": state["aliases"], "removed": removed}


def numbers_in(folder: Path) -> set[int]:
    """Numbers of the versions whose records lie in a folder."""
    check_no_link(folder)
    if is_there(folder) and not folder.is_dir():
        raise damaged(folder, "it is no folder")
    found = [MANIFEST.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    return {int(match[1]) for match in found if match}


def any_record(folder: Path) -> bool:
    """Whether a name's folder holds anything of a version."""
    if not folder.is_dir():
        return True  # reading it says what is wrong
    return is_there(folder / "aliases.json") or any(
        MANIFEST.fullmatch(path.name) for path in folder.iterdir()
    )


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON object from a file that is no link."""
    check_no_link(path)
    try:
        content = read_json(path)
    except (OSError, RecursionError) as error:
        raise damaged(
            path, getattr(error, "strerror", None) or "it is nested too deeply"
        ) from error
    if not isinstance(content, dict):
        raise damaged(path, f"it holds {shown(content)}, expected an object")
    return content


def check_no_link(path: Path) -> None:
    """Raise `UserError` for a symbolic link, which may lead anywhere."""
    if path.is_symlink():
        raise UserError(f"{path} is a symbolic link, which the store does not follow; remove it")


def expect(
    path: Path, content: Mapping[str, Any], key: str, fits: Callable[[Any], bool], expected: str
) -> None:
    """Raise `UserError` unless a key is there with a value that fits."""
    if key not in content:
        raise damaged(path, f"there is no {key!r}")
    if not fits(content[key]):
        raise damaged(path, f"{key} is {shown(content[key])}, expected {expected}")


def damaged(path: Path, why: str) -> UserError:
    """The error for a file of the store that is not as it was written."""
    return UserError(
        f"{path} is damaged ({why}); bring it back from a copy, or move {path.parent} away"
    )


def shown(value: Any) -> str:
    """A value, short enough for a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def is_integer(value: Any) -> bool:
    """Whether it is an integer, which JSON's `true` is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a number, which JSON's `true` is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_there(path: Path) -> bool:
    """Whether anything has this name, also a link that leads nowhere."""
    return path.is_symlink() or path.exists()
