"""The local artifact store: blobs by their sha256, versions v0, v1, ... of a name, aliases as W&B has them.

    artifacts/blobs/ab/ab12...          content, read-only, stored once
    artifacts/names/NAME/v0.json        a version: its files, metadata and digest
    artifacts/names/NAME/aliases.json   {"next": 1, "aliases": {"latest": 0}, "removed": []}; v0 counts once `next` is
                                        past it, and until gc has removed it
    artifacts/checkouts/DIGEST/         the files of a version under their names, hard links to the blobs

Everything is written beside and renamed under one lock, so several processes may store at once and a killed one leaves
nothing half. Imports the standard library only.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError, did_you_mean
from trainer_ext.files import atomic_folder, atomic_path, remove_tree, write_json
from trainer_ext.locks import file_lock
from trainer_ext.tracking.artifacts.content import (
    check_files,
    content_digest,
    holds_exactly,
    is_intact,
    link_or_copy,
    sha256_of,
)
from trainer_ext.tracking.artifacts.records import (
    MANIFEST,
    Version,
    any_record,
    check_no_link,
    is_there,
    read_state,
    read_version,
)
from trainer_ext.tracking.artifacts.scores import (
    NAME,
    best_of,
    check_alias,
    is_better,
    listed,
    split_reference,
)

ROOT_VARIABLE = "TRAINER_EXT_ARTIFACTS"
OURS = re.compile(
    r"[0-9a-f]{64}|\..*\.tmp"
)  # of blobs and checkouts; whatever else lies there is not removed


class Store:
    """A folder of artifacts.

    Args:
        root: the folder; None: `TRAINER_EXT_ARTIFACTS`, else `artifacts/` in the current directory.
    """

    def __init__(self, root: str | os.PathLike | None = None):
        self.root = Path(root or os.environ.get(ROOT_VARIABLE) or "artifacts").absolute()

    def put(
        self,
        name: str,
        files: Mapping[str, Path | bytes],
        metadata: Mapping[str, Any],
        aliases: Iterable[str] = (),
    ) -> Version:
        """Store files as the next version of `name`, or take up the version that has the same content.

        `latest` moves to it, `best` when its metadata `metric_value` beats that of the best version, and `aliases`.

        Raises:
            UserError: for a name that W&B would not take, and when the name's records are damaged.
            OSError: when the disk does not take it; the store is as before.
        """
        if not NAME.fullmatch(name):
            raise UserError(
                f"artifact name {name!r}: letters, digits, '.', '_' and '-' only, at most 128"
            )
        aliases = [check_alias(alias) for alias in aliases]
        check_files(files)
        with self._locked():
            state, known = self._state(name), self.versions(name)
            entries = {inside: self._add_blob(source) for inside, source in sorted(files.items())}
            digest = content_digest({inside: entry["sha256"] for inside, entry in entries.items()})
            version = next((old for old in known if old.digest == digest), None)
            if version is None:
                created = datetime.now(timezone.utc).isoformat(timespec="seconds")
                version = Version(
                    name, state["next"], "model", digest, created, dict(metadata), entries
                )
                if (
                    not known
                ):  # a record without this file beside it is a damaged store, not one being written
                    self._write_state(name, state)
                content = {key: value for key, value in vars(version).items() if key != "aliases"}
                write_json(self._folder(name) / f"v{version.number}.json", content)
                state["next"] += 1
            best = next((old for old in known if "best" in old.aliases), None)
            moved = [
                "latest",
                *aliases,
                *(["best"] if is_better(version.metadata, best and best.metadata) else []),
            ]
            state["aliases"] |= dict.fromkeys(moved, version.number)
            self._write_state(name, state)
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
            raise UserError(
                f"no artifact {name!r} in {self.root}{did_you_mean(name, names) or listed(names)}"
            )
        for version in versions:
            if alias in version.aliases or alias == f"v{version.number}":
                return version
        others = sorted({alias for version in versions for alias in version.aliases})
        raise UserError(
            f"artifact {name} has no {alias!r}{listed([*others, *(f'v{v.number}' for v in versions)])}"
        )

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(
            folder.name
            for folder in self._folders()
            if NAME.fullmatch(folder.name) and any_record(folder)
        )

    def versions(self, name: str) -> list[Version]:
        """All versions of a name, oldest first.

        Raises:
            UserError: when one of its records is damaged, naming the file.
        """
        (state, numbers), found = read_state(self._folder(name)), []
        for number in numbers:
            aliases = tuple(sorted(alias for alias, at in state["aliases"].items() if at == number))
            found.append(
                read_version(self._folder(name) / f"v{number}.json", name, number, aliases)
            )
        return found

    def tag(self, reference: str, alias: str) -> Version:
        """Put `alias` on a version; it leaves the version of the same name that had it."""
        check_alias(alias)
        with self._locked():
            version = self.get(reference)
            self._move(alias, version, [version.name])
        return self.get(str(version))

    def tag_best(
        self, alias: str, names: Iterable[str], among: Callable[[Mapping[str, Any]], bool]
    ) -> None:
        """Put `alias` on the best of the names' best versions, and take it off the others.

        Args:
            alias: that one of them has.
            names: of the artifacts that are compared.
            among: whether a version with these metadata is comparable at all.
        """
        with self._locked():
            versions = [
                version
                for name in names
                for version in self.versions(name)
                if "best" in version.aliases
            ]
            # each fold has rows of its own, so that these do not decide what is comparable
            best = best_of(
                [version for version in versions if among(version.metadata)], rows="folds_hash"
            )
            if best is not None:
                self._move(alias, best, names)

    def blob(self, sha256: str) -> Path:
        """Where the content with this digest lies."""
        return self.root / "blobs" / sha256[:2] / sha256

    def checkout(self, version: Version) -> Path:
        """A folder with the version's files and nothing else, to read from; each is checked against its digest.

        Raises:
            UserError: for a blob that is missing or damaged, naming it, and when the folder cannot be made.
        """
        if version.digest != content_digest(version.sha256s):  # it becomes a path
            raise UserError(
                f"artifact {version}: {version.digest!r} is not the digest of its files"
            )
        check_files(version.files)
        folder = self.root / "checkouts" / version.digest
        if holds_exactly(folder, version.sha256s):
            return folder
        try:
            with self._locked():
                # another process may have been faster, and its readers must not lose the folder under their feet
                if not holds_exactly(folder, version.sha256s):
                    self._unpack(version, folder)
        except OSError as error:
            raise UserError(
                f"artifact {version} cannot be unpacked into {folder}: {error.strerror or error}"
            ) from error
        return folder

    def gc(self, untagged: bool = False, dry_run: bool = False) -> list[str]:
        """Remove what no version needs; with `untagged` versions without an alias first. Returns what it removed.

        Raises:
            UserError: when a record is damaged, before anything is removed: nobody knows then what it needed.
        """
        removed: list[str] = []
        if not self.root.is_dir():
            return removed
        with self._locked():
            versions = self._every_version()
            dropped = [version for version in versions if untagged and not version.aliases]
            kept = [version for version in versions if version not in dropped]
            for version in () if dry_run else dropped:
                state = self._state(version.name)
                state["removed"] = [*state["removed"], version.number]
                self._write_state(version.name, state)
            needed = {self._folder(version.name) / f"v{version.number}.json" for version in kept}
            needed |= {
                self.blob(entry["sha256"]) for version in kept for entry in version.files.values()
            }
            needed |= {self.root / "checkouts" / version.digest for version in kept}
            for path in self._what_is_ours():
                if path not in needed:
                    removed.append(self._remove(path, dry_run))
        return removed

    def _every_version(self) -> list[Version]:
        """All there are; a `UserError` for whatever lies among the names and is none, and when they are gone."""
        if not (self.root / "names").is_dir() and is_there(self.root / "blobs"):
            raise UserError(
                f"{self.root / 'names'} is missing; bring it back from a copy, or remove {self.root}"
            )
        for folder in self._folders():
            if not NAME.fullmatch(folder.name):
                raise UserError(f"{folder} is no artifact's folder: its name is none. Move it away")
            check_no_link(folder)
            if not is_there(folder / "aliases.json"):
                raise UserError(
                    f"{folder / 'aliases.json'} is missing; bring it back from a copy, or remove {folder}"
                )
        return [version for name in self.names() for version in self.versions(name)]

    def _what_is_ours(self) -> Iterator[Path]:
        """Records, blobs and checkouts, and what was left beside them by a process that was killed."""
        for folder in self._folders():
            yield from sorted(path for path in folder.iterdir() if MANIFEST.fullmatch(path.name))
            yield from sorted(folder.glob(".*.tmp"))
        for folder in (self.root / "checkouts", *sorted(self.root.glob("blobs/??"))):
            if folder.is_dir() and not folder.is_symlink():
                yield from sorted(path for path in folder.iterdir() if OURS.fullmatch(path.name))

    def check_blobs(self, version: Version) -> None:
        """Raise `UserError` for content of a version that is missing or damaged, naming it."""
        for inside, entry in version.files.items():
            blob = self.blob(entry["sha256"])
            if not is_intact(blob, entry["sha256"]):
                what = (
                    "is damaged: its content is not what its digest says"
                    if is_there(blob)
                    else "is missing"
                )
                raise UserError(
                    f"artifact {version}: {inside} {what} ({blob}); store or download the artifact again"
                )

    def _unpack(self, version: Version, folder: Path) -> None:
        """Write a version's files to its checkout; whatever lies in the way goes."""
        self.check_blobs(version)
        with atomic_folder(folder) as beside:
            for inside, entry in version.files.items():
                link_or_copy(self.blob(entry["sha256"]), beside / inside)

    def _remove(self, path: Path, dry_run: bool) -> str:
        """Delete a file or folder; returns its place in the store."""
        if not dry_run:
            remove_tree(path)
        return path.relative_to(self.root).as_posix()

    def _move(self, alias: str, version: Version, names: Iterable[str]) -> None:
        """Put an alias on a version and take it off those of `names`; the lock is held."""
        for name in {*names} - {version.name}:
            state = self._state(name)
            if state["aliases"].pop(alias, None) is not None:
                self._write_state(name, state)
        state = self._state(version.name)
        state["aliases"][alias] = version.number
        self._write_state(version.name, state)

    def _folders(self) -> list[Path]:
        """What lies where the names' folders do, hidden files aside."""
        names = self.root / "names"
        return (
            sorted(path for path in names.iterdir() if path.name[0] != ".")
            if names.is_dir()
            else []
        )

    def _folder(self, name: str) -> Path:
        return self.root / "names" / name

    def _state(self, name: str) -> dict[str, Any]:
        return read_state(self._folder(name))[0]

    def _write_state(self, name: str, state: Mapping[str, Any]) -> None:
        write_json(self._folder(name) / "aliases.json", state)

    def _add_blob(self, source: Path | bytes) -> dict[str, Any]:
        """Copy a file, or content, in under its digest; what is there already and whole stays."""
        sha256 = sha256_of(source)
        blob = self.blob(sha256)
        if not is_intact(blob, sha256):
            with atomic_path(blob) as beside:
                if isinstance(source, bytes):
                    beside.write_bytes(source)
                else:
                    shutil.copyfile(source, beside)
                beside.chmod(0o444)
        return {"sha256": sha256, "size": blob.stat().st_size}

    def _locked(self) -> AbstractContextManager[None]:
        """One process at a time."""
        return file_lock(self.root / ".lock")
