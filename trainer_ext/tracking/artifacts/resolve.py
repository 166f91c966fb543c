"""Where a model is: a folder, `artifact:NAME:ALIAS` of the local store, or `wandb:ENTITY/PROJECT/NAME:ALIAS`.

W&B's answer says which content an alias means. The content comes from the local store if that has it, else from the
cache, else it is downloaded into the cache and checked. Without an answer the cache's last one counts, or the local
store's alias of that name, with a warning. Imports the standard library only, and wandb if it is asked.
"""

import json
import logging
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from trainer_ext.errors import UserError, describe_error
from trainer_ext.files import atomic_folder, write_json
from trainer_ext.locks import file_lock
from trainer_ext.tracking.artifacts.content import (
    check_files,
    content_digest,
    holds_exactly,
    sha256_of,
)
from trainer_ext.tracking.artifacts.records import SHA256, Version
from trainer_ext.tracking.artifacts.scores import NAME, VERSION, split_reference
from trainer_ext.tracking.artifacts.store import Store
from trainer_ext.tracking.server import check_reachable, has_api_key, set_limits

logger = logging.getLogger(__name__)

DIGEST = re.compile(r"[0-9a-f]{32,64}")  # W&B's own, of a manifest
PLACE = re.compile(r"[A-Za-z0-9][\w.-]*")  # an entity or project, which becomes a folder's name


class NoAnswerError(Exception):
    """W&B cannot be asked: no network, no server, no key."""


class LastAnswer(NamedTuple):
    """What a reference meant when the server last answered; None for what is not known."""

    digest: str | None
    """W&B's, which names the folder of the cache."""
    sha256: str | None
    """Of the content, as the local store computes it."""


def resolve_model(reference: str | Path) -> Path:
    """Return the folder of a model; what is not a reference is a path already.

    Raises:
        UserError: for a reference of the wrong form, an artifact that does not exist, damage, or a server that cannot
            be asked for content that is not on this machine.
    """
    kind, colon, rest = str(reference).partition(":")
    if colon and kind == "artifact":
        store = Store()
        return store.checkout(store.get(rest))
    if colon and kind == "wandb":
        return resolve_wandb(rest)
    return Path(reference)


def resolve_wandb(reference: str) -> Path:
    """Return the folder for `ENTITY/PROJECT/NAME[:ALIAS]`."""
    entity, project, name, alias = parts_of(reference)
    refs = cache_folder() / "refs"
    known = refs / entity / project / name / f"{alias}.json"
    try:
        artifact = ask_server(f"{entity}/{project}/{name}:{alias}")
    except NoAnswerError as error:
        return without_server(reference, known, name, alias, str(error))
    store = Store()
    # W&B's own digest is of another kind; ours, in the metadata, finds the content in the store.
    sha256 = sha256_in(artifact.metadata)
    version = version_with(store, sha256)
    folder = download(artifact) if version is None else store.checkout(version)
    write_json(known, {"digest": check_digest(artifact.digest), "sha256": sha256})
    return folder


def parts_of(reference: str) -> tuple[str, str, str, str]:
    """Return entity, project, name and alias of `ENTITY/PROJECT/NAME[:ALIAS]`.

    Raises:
        UserError: if it is not of that form.
    """
    parts = reference.split("/", 2)
    is_valid = (
        len(parts) == 3
        and PLACE.fullmatch(parts[0])
        and PLACE.fullmatch(parts[1])
        and NAME.fullmatch(parts[2].partition(":")[0])
    )
    if not is_valid:
        raise UserError(
            f"model wandb:{reference} is not of the form wandb:ENTITY/PROJECT/NAME:ALIAS"
        )
    name, alias = split_reference(parts[2])
    return parts[0], parts[1], name, alias


def ask_server(path: str) -> Any:
    """Return the `wandb.Artifact` of `ENTITY/PROJECT/NAME:ALIAS`, without opening a run.

    Raises:
        UserError: if the server answers that there is none.
        NoAnswerError: if it does not answer.
    """
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise NoAnswerError(f"WANDB_MODE is {mode}")
    import wandb

    set_limits()
    if not has_api_key():
        raise NoAnswerError("no API key: set WANDB_API_KEY or run `wandb login`")
    try:
        check_reachable(wandb.setup().settings.base_url)
        return wandb.Api().artifact(path)
    except (wandb.errors.Error, OSError, ValueError) as error:
        # The client wraps what the server answered in an error of its own.
        if isinstance(getattr(error, "exc", None), ValueError):
            raise UserError(f"model wandb:{path}: {describe_error(error)}") from error
        raise NoAnswerError(describe_error(error)) from error


def without_server(reference: str, known: Path, name: str, alias: str, why: str) -> Path:
    """Return what this machine has under the same name, with a warning.

    Args:
        reference: as it was given.
        known: the file of the server's last answer for it.
        name: of the artifact.
        alias: which of its versions.
        why: there is no answer.

    Raises:
        UserError: if it has nothing.
    """
    store = Store()
    folder = folder_of(store, read_last_answer(known))
    if folder is not None:
        logger.warning(
            "W&B does not answer (%s); wandb:%s is what it was when it last did", why, reference
        )
        return folder
    # Not for `v3`: the server counts versions on its own, so its v3 may be another than the store's.
    if not VERSION.fullmatch(alias) and name in store.names():
        version = store.get(f"{name}:{alias}")
        logger.warning(
            "W&B does not answer (%s); taking artifact:%s of the local store for wandb:%s",
            why,
            version,
            reference,
        )
        return store.checkout(version)
    raise UserError(f"model wandb:{reference} is not here, and W&B does not answer ({why})")


def folder_of(store: Store, answer: LastAnswer) -> Path | None:
    """Return the folder with the content of an earlier answer, from the store or the cache."""
    version = version_with(store, answer.sha256)
    if version is not None:
        return store.checkout(version)
    if answer.digest is not None:
        return cached(cache_folder() / answer.digest)
    return None


def read_last_answer(path: Path) -> LastAnswer:
    """Return what a reference last meant; the file may be damaged, or somebody else's."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        digest, sha256 = stored["digest"], stored["sha256"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return LastAnswer(None, None)
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        digest = None
    return LastAnswer(digest, sha256_in({"sha256": sha256}))


def sha256_in(metadata: Any) -> str | None:
    """Return the digest of the content that this project writes into an artifact's metadata; None without one."""
    sha256 = metadata.get("sha256") if isinstance(metadata, dict) else None
    if isinstance(sha256, str) and SHA256.fullmatch(sha256):
        return sha256
    return None


def check_digest(digest: Any) -> str:
    """Return a server's digest, which names a folder of the cache.

    Raises:
        UserError: if it is not hex.
    """
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise UserError(f"the digest that W&B gives, {str(digest)[:80]!r}, is not hex")
    return digest


def version_with(store: Store, sha256: str | None) -> Version | None:
    """Return a version of the local store with this content; warn of names with damaged records."""
    if sha256 is None:
        return None
    for name in store.names():
        try:
            versions = store.versions(name)
        except UserError as error:
            logger.warning("%s", error)
            continue
        for version in versions:
            if version.digest == sha256:
                return version
    return None


def download(artifact: Any) -> Path:
    """Return the folder of the cache with the artifact's files, downloaded and checked unless they are there intact.

    Raises:
        UserError: if that fails, for whatever reason.
    """
    try:
        digest = check_digest(artifact.digest)
        folder = cache_folder() / digest
        files = cached(folder)
        if files is not None:
            return files
        with file_lock(folder.with_name(f".{digest}.lock"), keep=False):
            files = cached(folder)
            if files is not None:  # another process was faster
                return files
            with atomic_folder(folder) as beside:
                fetch_into(beside, artifact, digest)
    except Exception as error:  # W&B raises many types
        raise UserError(
            f"model wandb:{artifact.qualified_name} cannot be downloaded: {describe_error(error)}"
        ) from error
    return folder / "files"


def fetch_into(folder: Path, artifact: Any, digest: str) -> None:
    """Download an artifact to `folder/files` and check every digest there is; then write `sha256.json` beside it.

    Raises:
        Exception: of many types, if a name leads out or the content is not what the server says of it.
    """
    check_files(list(artifact.manifest.entries))
    # Once the client has the manifest, it computes the digest from there: before, it was the server's word.
    if artifact.digest != digest:
        raise ValueError(f"the digest that W&B gives, {digest}, is not that of its manifest")
    files = folder / "files"
    artifact.download(root=str(files), skip_cache=True)
    artifact.verify(root=str(files))
    if any(path.is_symlink() for path in files.rglob("*")):
        raise ValueError("it holds a symbolic link")
    sha256s = digests_of(files)
    if sorted(sha256s) != sorted(artifact.manifest.entries):
        raise ValueError("its files are not those of its manifest")
    expected = sha256_in(artifact.metadata)
    if expected and content_digest(sha256s) != expected:
        raise ValueError("the content is not what its metadata say")
    write_json(folder / "sha256.json", sha256s)


def cached(folder: Path) -> Path | None:
    """Return the files of a folder of the cache if every one is as it was downloaded."""
    if folder.is_symlink():
        return None
    try:
        sha256s = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
        is_intact = holds_exactly(folder / "files", sha256s)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return folder / "files" if is_intact else None


def digests_of(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file in a folder by its path there."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digests[path.relative_to(folder).as_posix()] = sha256_of(path)
    return digests


def cache_folder() -> Path:
    """Return `trainer-ext` in W&B's cache folder (`WANDB_CACHE_DIR`), else in the user's."""
    for variable in ("WANDB_CACHE_DIR", "XDG_CACHE_HOME"):
        if os.environ.get(variable):
            return Path(os.environ[variable]) / "trainer-ext"
    return Path.home() / ".cache" / "trainer-ext"
