"""What the local store knows of a version and of a name, read from its JSON files and checked before it is believed.

A record may have been cut off, edited, or come with a store from elsewhere: names and digests become paths, so none is
used unchecked. Imports the standard library only.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.tracking.artifacts.content import check_files, content_digest
from trainer_ext.tracking.artifacts.scores import NAME, VERSION

SHA256 = re.compile(r"[0-9a-f]{64}")
MANIFEST = re.compile(r"v(0|[1-9]\d{0,8})\.json")
MOST_VERSIONS = 1_000_000
LONGEST_SHOWN = 60


class FileEntry(TypedDict):
    """What a version's record says of one of its files."""

    sha256: str
    size: int


class NameState(TypedDict):
    """Content of a name's aliases.json.

    Keys:
        next: number of the next version.
        aliases: where each alias is.
        removed: numbers of the versions that gc took.
    """

    next: int
    aliases: dict[str, int]
    removed: list[int]


@dataclass(frozen=True)
class Version:
    """One version of an artifact; `files` are its files by name."""

    name: str
    number: int
    type: str
    digest: str
    created: str
    metadata: dict[str, Any]
    files: dict[str, FileEntry]
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
        return sha256s_of(self.files)


def sha256s_of(files: Mapping[str, FileEntry]) -> dict[str, str]:
    """Return the digest of each file by its name."""
    return {name: entry["sha256"] for name, entry in files.items()}


def read_version(path: Path, name: str, number: int, aliases: tuple[str, ...]) -> Version:
    """Return a version's record.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    content = read_mapping(path)
    # A record that says another name or number than its place was copied there.
    expect(path, content, "name", lambda it: it == name, repr(name))
    expect(path, content, "number", is_integer, "an integer")
    expect(path, content, "number", lambda it: it == number, str(number))
    expect(path, content, "type", is_word, "a word")
    expect(path, content, "created", is_line, "a date")
    expect(path, content, "metadata", is_object, "an object")
    metric = content["metadata"].get("metric_value")
    if metric is not None and not is_number(metric):
        raise damaged(path, f"metric_value is {shown(metric)}, expected a number")
    expect(path, content, "files", is_object, "an object")
    for inside, entry in content["files"].items():
        check_entry(path, inside, entry)
    try:
        check_files(content["files"])
    except UserError as error:
        raise damaged(path, str(error)) from None
    digest = content_digest(sha256s_of(content["files"]))
    expect(path, content, "digest", lambda it: it == digest, f"{digest}, the digest of its files")
    return Version(
        name=name,
        number=number,
        type=content["type"],
        digest=digest,
        created=content["created"],
        metadata=content["metadata"],
        files=content["files"],
        aliases=aliases,
    )


def check_entry(path: Path, inside: str, entry: Any) -> None:
    """Raise `UserError` unless a file of a version has a sha256 and a size."""
    if not is_object(entry):
        raise damaged(path, f"file {inside!r} is {shown(entry)}, expected an object")
    sha256 = entry.get("sha256")
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise damaged(path, f"file {inside!r}: sha256 is {shown(sha256)}, expected 64 hex digits")
    size = entry.get("size")
    if not is_integer(size) or size < 0:
        raise damaged(path, f"file {inside!r}: size is {shown(size)}, expected a number of bytes")


def read_state(folder: Path) -> tuple[NameState, list[int]]:
    """Return a name's state, and the numbers of the versions that exist and count.

    Raises:
        UserError: naming the file and what is wrong with it, also when a version exists that the state does not know,
            or is missing though nobody removed it.
    """
    path = folder / "aliases.json"
    before = bytes_of(path)
    existing = numbers_in(folder)
    # A reader takes no lock. If the state changed while the folder was listed, another process is storing.
    while bytes_of(path) != before:
        before = bytes_of(path)
        existing = numbers_in(folder)
    state = checked_state(folder, existing)
    return state, sorted(number for number in existing if number < state["next"])


def bytes_of(path: Path) -> bytes | None:
    """Return the content of a file; None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def checked_state(folder: Path, existing: set[int]) -> NameState:
    """Return the content of aliases.json, which must fit the versions that exist."""
    path = folder / "aliases.json"
    if not is_there(path):
        if existing:
            raise damaged(path, f"it is missing, but v{max(existing)}.json is there")
        return {"next": 0, "aliases": {}, "removed": []}
    content = read_mapping(path)
    expect(path, content, "next", is_number_of_versions, "a number of versions")
    expect(path, content, "aliases", is_object, "an object")
    next_number = content["next"]
    # One more may exist: a put that was cut off leaves its record at `next`, where it does not count.
    if existing and max(existing) > next_number:
        raise damaged(path, f"next is {next_number}, but v{max(existing)}.json is there")
    check_aliases(path, content["aliases"], next_number)
    missing = sorted(set(range(next_number)) - existing)
    # Stores of the first releases have no such list: there all that is missing was removed.
    removed = content.get("removed", missing)
    if not is_list_of_versions(removed, next_number):
        raise damaged(
            path, f"removed is {shown(removed)}, expected a list of numbers below {next_number}"
        )
    for number in missing:
        if number not in removed or number in content["aliases"].values():
            raise damaged(folder / f"v{number}.json", "it is missing")
    return {"next": next_number, "aliases": content["aliases"], "removed": removed}


def check_aliases(path: Path, aliases: Mapping[str, Any], next_number: int) -> None:
    """Raise `UserError` for an alias that cannot be one, or is at a version that was never made."""
    for alias, number in aliases.items():
        # `v3` as an alias would hide the version of that number.
        if not NAME.fullmatch(alias) or VERSION.fullmatch(alias):
            raise damaged(path, f"{alias!r} is not an alias")
        if not is_integer(number) or not 0 <= number < next_number:
            raise damaged(
                path, f"alias {alias} is at {shown(number)}, expected a number below {next_number}"
            )


def numbers_in(folder: Path) -> set[int]:
    """Return the numbers of the versions that have a record in a folder."""
    check_no_link(folder)
    if is_there(folder) and not folder.is_dir():
        raise damaged(folder, "it is not a folder")
    numbers = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        match = MANIFEST.fullmatch(path.name)
        if match:
            numbers.add(int(match[1]))
    return numbers


def any_record(folder: Path) -> bool:
    """Return whether a name's folder holds anything of a version."""
    if not folder.is_dir():
        return True  # so that it is read, which says what is wrong with it
    if is_there(folder / "aliases.json"):
        return True
    return any(MANIFEST.fullmatch(path.name) for path in folder.iterdir())


def read_mapping(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file that is not a link."""
    check_no_link(path)
    try:
        content = read_json(path)
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if not is_object(content):
        raise damaged(path, f"it holds {shown(content)}, expected an object")
    return content


def check_no_link(path: Path) -> None:
    """Raise `UserError` for a symbolic link, which may lead anywhere."""
    if path.is_symlink():
        raise UserError(f"{path} is a symbolic link, which the store does not follow; remove it")


def expect(
    path: Path,
    content: Mapping[str, Any],
    key: str,
    fits: Callable[[Any], bool],
    expected: str,
) -> None:
    """Raise `UserError` unless a record has the key, with a value that fits."""
    if key not in content:
        raise damaged(path, f"{key!r} is missing")
    if not fits(content[key]):
        raise damaged(path, f"{key} is {shown(content[key])}, expected {expected}")


def damaged(path: Path, why: str) -> UserError:
    """Return the error for a file of the store that is not as it was written."""
    return UserError(
        f"{path} is damaged ({why}); bring it back from a copy, or move {path.parent} away"
    )


def shown(value: Any) -> str:
    """Return a value as Python writes it, cut to fit in a line."""
    text = repr(value)
    if len(text) > LONGEST_SHOWN:
        return f"{text[:LONGEST_SHOWN]}..."
    return text


# JSON's `true` is a bool, which Python counts among the integers: it is not a number in a record.
def is_integer(value: Any) -> bool:
    """Return whether a value is an integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_number_of_versions(value: Any) -> bool:
    """Return whether as many versions can exist."""
    # A huge number, from a damaged file, would take all memory as a range.
    return is_integer(value) and 0 <= value <= MOST_VERSIONS


def is_list_of_versions(value: Any, next_number: int) -> bool:
    """Return whether a value is a list of numbers of versions below `next_number`."""
    if not isinstance(value, list):
        return False
    return all(is_integer(number) and 0 <= number < next_number for number in value)


def is_object(value: Any) -> bool:
    """Return whether a value is an object of JSON."""
    return isinstance(value, dict)


def is_word(value: Any) -> bool:
    """Return whether a value can be the type of an artifact."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def is_line(value: Any) -> bool:
    """Return whether a value is text that can be printed."""
    return isinstance(value, str) and value.isprintable()


def is_there(path: Path) -> bool:
    """Return whether anything has this name, also a link that leads nowhere."""
    return path.is_symlink() or path.exists()
