"""The local artifact store: blobs by their sha256, versions v0, v1, ... of a name, aliases as W&B has them.

    artifacts/blobs/ab/ab12...          content, read-only, stored once
    artifacts/names/NAME/v0.json        a version: its files, metadata and digest
    artifacts/names/NAME/aliases.json   {"next": 1, "aliases": {"latest": 0}}; v0 counts once `next` is past it
    artifacts/checkouts/DIGEST/         the files of a version under their names, hard links to the blobs

Everything is written beside and renamed under one lock, so several processes may store at once and a killed one leaves
nothing half. Imports the standard library only.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from trainer_ext.errors import UserError, did_you_mean
from trainer_ext.files import read_json, write_json
from trainer_ext.tracking.scores import NAME, VERSION, is_better, split_reference

ROOT_VARIABLE = "TRAINER_EXT_ARTIFACTS"


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


def sha256_of(source: Path | bytes) -> str:
    """Hex sha256 of a file's content, or of content."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def content_digest(sha256s: Mapping[str, str]) -> str:
    """One digest for a set of files: sha256 over their names and sha256s in the order of the names."""
    return hashlib.sha256("".join(f"{name}\0{sha256s[name]}\n" for name in sorted(sha256s)).encode()).hexdigest()


class Store:
    """A folder of artifacts.

    Args:
        root: the folder; None: `TRAINER_EXT_ARTIFACTS`, else `artifacts/` in the current directory.
    """

    def __init__(self, root: str | os.PathLike | None = None):
        self.root = Path(root or os.environ.get(ROOT_VARIABLE) or "artifacts").absolute()

    def put(
        self, name: str, files: Mapping[str, Path | bytes], metadata: Mapping[str, Any], aliases: Iterable[str] = ()
    ) -> Version:
        """Store files as the next version of `name`, or take up the version that has the same content.

        `latest` moves to it, `best` when its metadata `metric_value` beats that of the best version, and `aliases`.

        Raises:
            UserError: for a name that W&B would not take.
            OSError: when the disk does not take it; the store is as before.
        """
        if not NAME.fullmatch(name):
            raise UserError(f"artifact name {name!r}: letters, digits, '.', '_' and '-' only, at most 128")
        for inside in files:
            check_inside(inside)
        with self._locked():
            entries = {inside: self._add_blob(source) for inside, source in sorted(files.items())}
            digest = content_digest({inside: entry["sha256"] for inside, entry in entries.items()})
            known = self.versions(name)
            version = next((old for old in known if old.digest == digest), None)
            state = self._state(name)
            if version is None:
                created = datetime.now(timezone.utc).isoformat(timespec="seconds")
                version = Version(name, state["next"], "model", digest, created, dict(metadata), entries)
                content = {key: value for key, value in vars(version).items() if key != "aliases"}
                write_json(self._folder(name) / f"v{version.number}.json", content)
                state["next"] += 1
            best = next((old for old in known if "best" in old.aliases), None)
            moved = ["latest", *aliases, *(["best"] if is_better(version.metadata, best and best.metadata) else [])]
            state["aliases"] |= dict.fromkeys(moved, version.number)
            write_json(self._folder(name) / "aliases.json", state)
        return self.get(str(version))

    def holds(self, name: str, files: Mapping[str, Path | bytes]) -> bool:
        """Whether a version of `name` has this content."""
        digest = content_digest({inside: sha256_of(source) for inside, source in files.items()})
        return any(version.digest == digest for version in self.versions(name))

    def get(self, reference: str) -> Version:
        """The version that `NAME[:ALIAS]` or `NAME:v3` names.

        Raises:
            UserError: when there is none, naming those there are.
        """
        name, alias = split_reference(reference)
        versions = self.versions(name)
        if not versions:
            names = self.names()
            raise UserError(f"no artifact {name!r} in {self.root}{did_you_mean(name, names) or listed(names)}")
        for version in versions:
            if alias in version.aliases or alias == f"v{version.number}":
                return version
        others = sorted({alias for version in versions for alias in version.aliases})
        raise UserError(f"artifact {name} has no {alias!r}{listed([*others, *(f'v{v.number}' for v in versions)])}")

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(path.parent.name for path in self.root.glob("names/*/aliases.json"))

    def versions(self, name: str) -> list[Version]:
        """All versions of a name, oldest first."""
        state, found = self._state(name), []
        for number in range(state["next"]):
            path = self._folder(name) / f"v{number}.json"
            if path.is_file():
                aliases = tuple(sorted(alias for alias, at in state["aliases"].items() if at == number))
                found.append(Version(**read_json(path), aliases=aliases))
        return found

    def tag(self, reference: str, alias: str, only_in: Iterable[str] = ()) -> Version:
        """Put `alias` on a version; it leaves the version of the same name that had it, and all those of `only_in`."""
        version = self.get(reference)
        if VERSION.fullmatch(alias) or not NAME.fullmatch(alias):
            raise UserError(f"alias {alias!r}: letters, digits, '.', '_' and '-' only, and not of the form v0")
        with self._locked():
            for name in {*only_in} - {version.name}:
                state = self._state(name)
                if state["aliases"].pop(alias, None) is not None:
                    write_json(self._folder(name) / "aliases.json", state)
            state = self._state(version.name)
            state["aliases"][alias] = version.number
            write_json(self._folder(version.name) / "aliases.json", state)
        return self.get(str(version))

    def blob(self, sha256: str) -> Path:
        """Where the content with this digest lies."""
        return self.root / "blobs" / sha256[:2] / sha256

    def checkout(self, version: Version) -> Path:
        """A folder with the version's files, to read from; every file is checked against its digest.

        Raises:
            UserError: for a blob that is missing or damaged, naming it.
        """
        folder = self.root / "checkouts" / version.digest
        if all(is_intact(folder / inside, entry["sha256"]) for inside, entry in version.files.items()):
            return folder
        for inside, entry in version.files.items():
            blob = self.blob(entry["sha256"])
            if not is_intact(blob, entry["sha256"]):
                what = "is damaged: its content is not what its digest says" if blob.exists() else "is missing"
                raise UserError(f"artifact {version}: {inside} {what} ({blob}); store or download the artifact again")
        with self._locked():
            beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
            shutil.rmtree(beside, ignore_errors=True)
            for inside, entry in version.files.items():
                link_or_copy(self.blob(entry["sha256"]), beside / inside)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(beside, folder)
        return folder

    def gc(self, untagged: bool = False, dry_run: bool = False) -> list[str]:
        """Remove what no version needs; with `untagged` versions without an alias first. Returns what it removed."""
        removed: list[str] = []
        if not self.root.is_dir():
            return removed
        with self._locked():
            versions = [version for name in self.names() for version in self.versions(name)]
            dropped = [version for version in versions if untagged and not version.aliases]
            kept = [version for version in versions if version not in dropped]
            manifests = {self._folder(version.name) / f"v{version.number}.json" for version in kept}
            blobs = {self.blob(entry["sha256"]) for version in kept for entry in version.files.values()}
            folders = {self.root / "checkouts" / version.digest for version in kept}
            for path in sorted(self.root.glob("names/*/v*.json")):
                if path not in manifests:
                    removed.append(self._remove(path, dry_run))
            for path in sorted((*self.root.glob("checkouts/*"), *self.root.glob("blobs/*/*"))):
                if path not in folders | blobs:
                    removed.append(self._remove(path, dry_run))
        return removed

    def _remove(self, path: Path, dry_run: bool) -> str:
        """Delete a file or folder; returns its place in the store."""
        if not dry_run:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return path.relative_to(self.root).as_posix()

    def _folder(self, name: str) -> Path:
        return self.root / "names" / name

    def _state(self, name: str) -> dict[str, Any]:
        path = self._folder(name) / "aliases.json"
        return read_json(path) if path.is_file() else {"next": 0, "aliases": {}}

    def _add_blob(self, source: Path | bytes) -> dict[str, Any]:
        """Copy a file, or content, in under its digest; what is there already and whole stays."""
        sha256 = sha256_of(source)
        blob = self.blob(sha256)
        if not is_intact(blob, sha256):
            blob.parent.mkdir(parents=True, exist_ok=True)
            beside = blob.with_name(f".{sha256}.{os.getpid()}.tmp")
            try:
                beside.write_bytes(source) if isinstance(source, bytes) else shutil.copyfile(source, beside)
                beside.chmod(0o444)
                os.replace(beside, blob)
            finally:
                beside.unlink(missing_ok=True)
        return {"sha256": sha256, "size": blob.stat().st_size}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time; the kernel frees the lock of a killed one."""
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def is_intact(path: Path, sha256: str) -> bool:
    """Whether a file is there with this content."""
    return path.is_file() and sha256_of(path) == sha256


def check_inside(name: str) -> None:
    """Raise `UserError` for a file name that leads out of its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise UserError(f"artifact file {name!r} leads out of the artifact")


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def listed(names: Iterable[str]) -> str:
    """`"; there are a, b"`, or that there is nothing."""
    names = list(names)
    return f"; there are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}" if names else "; it is empty"
