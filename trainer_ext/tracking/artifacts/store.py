"""The local artifact store: blobs by their sha256, versions v0, v1, ... of a name, aliases as W&B has them.

    artifacts/blobs/ab/ab12...          content, read-only, stored once
    artifacts/names/NAME/v0.json        a version: its files, metadata and digest
    artifacts/names/NAME/aliases.json   {"next": 1, "aliases": {"latest": 0}, "removed": []}; v0 counts once `next` is
                                        past it, and until gc has removed it
    artifacts/checkouts/DIGEST/         the files of a version under their names, hard links to the blobs

Everything is written beside and renamed under one lock, so several processes may store at once and a killed one leaves
nothing half written. Imports the standard library only.
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
    FileEntry,
    NameState,
    Version,
    any_record,
    check_no_link,
    is_there,
    read_state,
    read_version,
    sha256s_of,
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
OURS = re.compile(r"[0-9a-f]{64}|\..*\.tmp")
"""Names of blobs and checkouts, and of those half written; whatever else lies among them is not removed."""


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
        """Store files as the next version of `name`, or find the version that has the same content.

        `latest` moves to it, `best` if its metadata `metric_value` beats that of the best version, and `aliases`.

        Raises:
            UserError: for a name that W&B would not take, and if the name's records are damaged.
            OSError: if the disk does not take it; the store is as before.
        """
        if not NAME.fullmatch(name):
            raise UserError(
                f"artifact name {name!r}: letters, digits, '.', '_' and '-' only, at most 128"
            )
        moved = ["latest", *(check_alias(alias) for alias in aliases)]
        check_files(files)
        with self._locked():
            # Under the lock: another process may be storing the same content.
            known = self.versions(name)
            entries = {}
            for inside in sorted(files):
                entries[inside] = self._add_blob(files[inside])
            digest = content_digest(sha256s_of(entries))
            version = next((old for old in known if old.digest == digest), None)
            if version is None:
                version = self._add_version(name, digest, entries, metadata)
            best = next((old for old in known if "best" in old.aliases), None)
            if is_better(version.metadata, best.metadata if best is not None else None):
                moved.append("best")
            state = self._state(name)
            state["aliases"] |= dict.fromkeys(moved, version.number)
            # The last file written: a put that was cut off before has stored nothing.
            state["next"] = max(state["next"], version.number + 1)
            self._write_state(name, state)
        return self.get(str(version))

    def _add_version(
        self,
        name: str,
        digest: str,
        entries: dict[str, FileEntry],
        metadata: Mapping[str, Any],
    ) -> Version:
        """Write the record of a new version, which counts once the state of its name says so; the lock is held."""
        state = self._state(name)
        if state["next"] == 0:
            # A record without this file beside it is a damaged store, not one that is being written.
            self._write_state(name, state)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        version = Version(name, state["next"], "model", digest, created, dict(metadata), entries)
        record = dict(vars(version))
        del record["aliases"]  # they move; a record is written once
        write_json(self._record(name, version.number), record)
        return version

    def holds(self, name: str, files: Mapping[str, Path | bytes]) -> bool:
        """Return whether a version of `name` has this content."""
        sha256s = {inside: sha256_of(source) for inside, source in files.items()}
        digest = content_digest(sha256s)
        return any(version.digest == digest for version in self.versions(name))

    def get(self, reference: str) -> Version:
        """Return the version that `NAME[:ALIAS]` or `NAME:v3` names.

        Raises:
            UserError: if there is none, naming those there are.
        """
        name, alias = split_reference(reference)
        versions = self.versions(name)
        if not versions:
            # A typing error, or a name of which gc removed all versions.
            names = self.names()
            near = did_you_mean(name, names) or listed(names)
            raise UserError(f"no artifact {name!r} in {self.root}{near}")
        others: set[str] = set()
        for version in versions:
            if alias in version.aliases or alias == f"v{version.number}":
                return version
            others.update(version.aliases)
        numbers = [f"v{version.number}" for version in versions]
        choices = listed([*sorted(others), *numbers])
        raise UserError(f"artifact {name} has no {alias!r}{choices}")

    def names(self) -> list[str]:
        """Return all names, sorted."""
        names = []
        for folder in self._folders():
            if NAME.fullmatch(folder.name) and any_record(folder):
                names.append(folder.name)
        return names

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a name, oldest first.

        Raises:
            UserError: if one of its records is damaged, naming the file.
        """
        state, numbers = read_state(self._folder(name))
        versions = []
        for number in numbers:
            aliases = [alias for alias, place in state["aliases"].items() if place == number]
            path = self._record(name, number)
            versions.append(read_version(path, name, number, tuple(sorted(aliases))))
        return versions

    def tag(self, reference: str, alias: str) -> Version:
        """Put `alias` on a version; it leaves the version of the same name that had it."""
        check_alias(alias)
        with self._locked():
            version = self.get(reference)
            self._move(alias, version, [version.name])
        return self.get(str(version))

    def tag_best(
        self,
        alias: str,
        names: Iterable[str],
        among: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        """Put `alias` on the best of the names' best versions, and take it off the others.

        Args:
            alias: that one of them has.
            names: of the artifacts that are compared.
            among: whether a version with these metadata is comparable at all.
        """
        names = list(names)
        with self._locked():
            candidates = []
            for name in names:
                for version in self.versions(name):
                    if "best" in version.aliases and among(version.metadata):
                        candidates.append(version)
            # Not by `validation_hash`: each fold is scored on rows of its own.
            best = best_of(candidates, rows="folds_hash")
            # Without a score the alias stays where it is.
            if best is not None:
                self._move(alias, best, names)

    def blob(self, sha256: str) -> Path:
        """Return where the content with this digest lies."""
        return self.root / "blobs" / sha256[:2] / sha256

    def checkout(self, version: Version) -> Path:
        """Return a folder to read from, with the version's files and nothing else, each checked against its digest.

        Raises:
            UserError: for a blob that is missing or damaged, naming it, and if the folder cannot be made.
        """
        # The digest becomes a path; a caller may have a record from elsewhere.
        if version.digest != content_digest(version.sha256s):
            raise UserError(
                f"artifact {version}: {version.digest!r} is not the digest of its files"
            )
        check_files(version.files)
        folder = self._checkout_folder(version)
        if holds_exactly(folder, version.sha256s):
            return folder
        try:
            with self._locked():
                # Another process may have been faster, and must not lose the folder while it reads there.
                if not holds_exactly(folder, version.sha256s):
                    self._unpack(version, folder)
        except OSError as error:
            raise UserError(
                f"artifact {version} cannot be unpacked into {folder}: {error.strerror or error}"
            ) from error
        return folder

    def check_blobs(self, version: Version) -> None:
        """Check the content of a version.

        Raises:
            UserError: for a file whose content is missing or damaged, naming it.
        """
        for inside, entry in version.files.items():
            blob = self.blob(entry["sha256"])
            if is_intact(blob, entry["sha256"]):
                continue
            what = "is missing"
            if is_there(blob):
                what = "is damaged: its content is not what its digest says"
            raise UserError(
                f"artifact {version}: {inside} {what} ({blob}); store or download the artifact again"
            )

    def gc(self, untagged: bool = False, dry_run: bool = False) -> list[str]:
        """Remove what no version needs.

        Args:
            untagged: remove versions without an alias first.
            dry_run: only return what would be removed.

        Returns:
            What was removed, as paths in the store.

        Raises:
            UserError: if a record is damaged, before anything is removed: nobody knows then what it needed.
        """
        if not self.root.is_dir():
            return []
        removed = []
        with self._locked():
            versions = self._all_versions()
            kept = [version for version in versions if version.aliases or not untagged]
            if not dry_run:
                for version in versions:
                    if version not in kept:
                        self._note_removal(version)
            needed = self._paths_of(kept)
            for path in self._own_paths():
                if path not in needed:
                    if not dry_run:
                        remove_tree(path)
                    removed.append(path.relative_to(self.root).as_posix())
        return removed

    def _note_removal(self, version: Version) -> None:
        """Write down that a version was removed, before its record is: else it would be missed."""
        state = self._state(version.name)
        state["removed"] = [*state["removed"], version.number]
        self._write_state(version.name, state)

    def _all_versions(self) -> list[Version]:
        """Return every version of every name.

        Raises:
            UserError: for anything among the names that is not a name's folder, and if the names are gone.
        """
        if not (self.root / "names").is_dir() and is_there(self.root / "blobs"):
            raise UserError(
                f"{self.root / 'names'} is missing; bring it back from a copy, or remove {self.root}"
            )
        for folder in self._folders():
            if not NAME.fullmatch(folder.name):
                raise UserError(
                    f"{folder} is not an artifact's folder: no artifact can have this name. Move it away"
                )
            check_no_link(folder)
            if not is_there(folder / "aliases.json"):
                raise UserError(
                    f"{folder / 'aliases.json'} is missing; bring it back from a copy, or remove {folder}"
                )
        versions = []
        for name in self.names():
            versions += self.versions(name)
        return versions

    def _paths_of(self, versions: Iterable[Version]) -> set[Path]:
        """Return the records, blobs and checkouts of some versions."""
        paths = set()
        for version in versions:
            paths.add(self._record(version.name, version.number))
            paths.add(self._checkout_folder(version))
            paths.update(self.blob(sha256) for sha256 in version.sha256s.values())
        return paths

    def _own_paths(self) -> Iterator[Path]:
        """Yield records, blobs and checkouts, and what a process that was killed left half written."""
        for folder in self._folders():
            yield from sorted(path for path in folder.iterdir() if MANIFEST.fullmatch(path.name))
            yield from sorted(folder.glob(".*.tmp"))
        for folder in (self.root / "checkouts", *sorted(self.root.glob("blobs/??"))):
            # Behind a link may be anything: nothing is removed there.
            if folder.is_dir() and not folder.is_symlink():
                yield from sorted(path for path in folder.iterdir() if OURS.fullmatch(path.name))

    def _unpack(self, version: Version, folder: Path) -> None:
        """Write a version's files to its checkout, in place of whatever is there; the lock is held."""
        self.check_blobs(version)
        with atomic_folder(folder) as beside:
            for inside, sha256 in version.sha256s.items():
                link_or_copy(self.blob(sha256), beside / inside)

    def _move(self, alias: str, version: Version, names: Iterable[str]) -> None:
        """Put an alias on a version and take it off those of `names`; the lock is held."""
        # First taken off: a process killed in between leaves no two of them with the alias.
        for name in {*names} - {version.name}:
            state = self._state(name)
            if state["aliases"].pop(alias, None) is not None:
                self._write_state(name, state)
        state = self._state(version.name)
        state["aliases"][alias] = version.number
        self._write_state(version.name, state)

    def _folders(self) -> list[Path]:
        """Return the names' folders, and whatever else is there except hidden files, sorted."""
        names = self.root / "names"
        if not names.is_dir():
            return []
        # Hidden are folders being written, and what file managers leave.
        return sorted(path for path in names.iterdir() if not path.name.startswith("."))

    def _folder(self, name: str) -> Path:
        return self.root / "names" / name

    def _record(self, name: str, number: int) -> Path:
        return self._folder(name) / f"v{number}.json"

    def _checkout_folder(self, version: Version) -> Path:
        return self.root / "checkouts" / version.digest

    def _state(self, name: str) -> NameState:
        return read_state(self._folder(name))[0]

    def _write_state(self, name: str, state: NameState) -> None:
        write_json(self._folder(name) / "aliases.json", state)

    def _add_blob(self, source: Path | bytes) -> FileEntry:
        """Copy a file, or content, to the place of its digest, unless it is there already and intact."""
        sha256 = sha256_of(source)
        blob = self.blob(sha256)
        if not is_intact(blob, sha256):
            with atomic_path(blob) as beside:
                if isinstance(source, bytes):
                    beside.write_bytes(source)
                else:
                    shutil.copyfile(source, beside)
                # Checkouts link to it: writing into one of them would change every version that has this file.
                beside.chmod(0o444)
        return {"sha256": sha256, "size": blob.stat().st_size}

    def _locked(self) -> AbstractContextManager[None]:
        """Let one process at a time change the store."""
        return file_lock(self.root / ".lock")
