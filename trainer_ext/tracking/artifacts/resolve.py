"""Where a model is: a folder, `artifact:NAME:ALIAS` of the local store, or `wandb:ENTITY/PROJECT/NAME:ALIAS`.

W&B's answer says which content an alias means. The content comes from the local store where that has it, else from
the cache, else it is downloaded into the cache and checked. Without an answer the cache's last one counts, or the
local store's alias of that name, with a warning. Imports the standard library only; wandb where it is asked.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

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
from trainer_ext.tracking.artifacts.scores import NAME, split_reference
from trainer_ext.tracking.artifacts.store import Store
from trainer_ext.tracking.server import check_reachable, has_api_key, set_limits

DIGEST = re.compile(r"[0-9a-f]{32,64}")  # W&B's own, of a manifest
PLACE = re.compile(
    r"[A-Za-z0-9][\w.-]*"
)  # of an entity or project: nothing that leads out of a folder


def resolve_model(reference: str) -> Path:
    """The folder of a model; what is no reference is a path already.

    Raises:
        UserError: for a reference of the wrong form, an artifact that is not there, damage, or a server that cannot be
            asked for content that is not here.
    """
    kind, colon, rest = str(reference).partition(":")
    if colon and kind == "artifact":
        store = Store()
        return store.checkout(store.get(rest))
    if colon and kind == "wandb":
        return resolve_wandb(rest)
    return Path(reference)


def resolve_wandb(reference: str) -> Path:
    """The folder for `ENTITY/PROJECT/NAME[:ALIAS]`."""
    entity, project, name = (reference.split("/", 2) + ["", ""])[:3]
    if not (
        PLACE.fullmatch(entity)
        and PLACE.fullmatch(project)
        and NAME.fullmatch(name.partition(":")[0])
    ):
        raise UserError(
            f"model wandb:{reference} is not of the form wandb:ENTITY/PROJECT/NAME:ALIAS"
        )
    name, alias = split_reference(name)
    known = cache_folder() / "refs" / entity / project / name / f"{alias}.json"
    try:
        artifact = ask_server(f"{entity}/{project}/{name}:{alias}")
    except NoAnswerError as error:
        return without_server(reference, known, name, alias, str(error))
    store, sha256 = Store(), sha256_in(artifact.metadata)
    version = version_with(store, sha256)
    folder = store.checkout(version) if version else download(artifact)
    write_json(known, {"digest": check_digest(artifact.digest), "sha256": sha256})
    return folder


class NoAnswerError(Exception):
    """W&B cannot be asked: no network, no server, no key."""


def ask_server(path: str) -> Any:
    """The `wandb.Artifact` of `ENTITY/PROJECT/NAME:ALIAS`, without opening a run.

    Raises:
        UserError: when the server says that there is none.
        NoAnswerError: when it says nothing.
    """
    if os.environ.get("WANDB_MODE", "online") != "online":
        raise NoAnswerError(f"WANDB_MODE is {os.environ['WANDB_MODE']}")
    import wandb

    set_limits()
    if not has_api_key():
        raise NoAnswerError("no API key: set WANDB_API_KEY or run `wandb login`")
    try:
        check_reachable(wandb.setup().settings.base_url)
        return wandb.Api().artifact(path)
    except (wandb.errors.Error, OSError, ValueError) as error:
        if isinstance(getattr(error, "exc", None), ValueError):  # the server answered
            raise UserError(f"model wandb:{path}: {describe_error(error)}") from error
        raise NoAnswerError(describe_error(error)) from error


def without_server(reference: str, known: Path, name: str, alias: str, why: str) -> Path:
    """What is here under the same name, with a warning."""
    store, (digest, sha256) = Store(), read_known(known)
    version = version_with(store, sha256)
    folder = store.checkout(version) if version else digest and cached(cache_folder() / digest)
    if folder:
        warn(f"W&B does not answer ({why}); wandb:{reference} is what it was when it last did")
        return folder
    if (
        not re.fullmatch(r"v\d+", alias) and name in store.names()
    ):  # the server counts versions by itself
        version = store.get(f"{name}:{alias}")
        warn(
            f"W&B does not answer ({why}); taking artifact:{version} of the local store for wandb:{reference}"
        )
        return store.checkout(version)
    raise UserError(f"model wandb:{reference} is not here, and W&B does not answer ({why})")


def read_known(path: Path) -> tuple[str | None, str | None]:
    """W&B's digest and the sha256 of what a reference last meant; None for what is not known, or not readable."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        digest, sha256 = stored["digest"], stored["sha256"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None, None
    is_digest = isinstance(digest, str) and DIGEST.fullmatch(digest)
    return (digest if is_digest else None), sha256_in({"sha256": sha256})


def sha256_in(metadata: Any) -> str | None:
    """The digest of the content as this project writes it into an artifact's metadata; None for whatever else."""
    sha256 = metadata.get("sha256") if isinstance(metadata, dict) else None
    return sha256 if isinstance(sha256, str) and SHA256.fullmatch(sha256) else None


def check_digest(digest: Any) -> str:
    """A server's digest, which names a folder of the cache; a `UserError` unless it is hex."""
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise UserError(f"the digest that W&B gives, {str(digest)[:80]!r}, is not hex")
    return digest


def version_with(store: Store, sha256: str | None) -> Version | None:
    """A version of the local store with this content; names whose records are damaged are passed over."""
    for name in store.names() if sha256 else ():
        try:
            versions = store.versions(name)
        except UserError as error:
            warn(str(error))
            continue
        for version in versions:
            if version.digest == sha256:
                return version
    return None


def download(artifact: Any) -> Path:
    """The artifact's files in the cache, by their digest; downloaded and checked unless they are there whole."""
    try:
        digest = check_digest(artifact.digest)
        folder = cache_folder() / digest
        if found := cached(folder):
            return found
        with file_lock(folder.with_name(f".{digest}.lock"), keep=False):
            if found := cached(folder):  # another process was faster
                return found
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
        Exception: of many types, when a name leads out or the content is not what the server says of it.
    """
    check_files(list(artifact.manifest.entries))
    if artifact.digest != digest:  # with the manifest at hand, W&B's client computes it from there
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
    """The files of a folder of the cache, when every one is as it was downloaded."""
    try:
        sha256s = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
        whole = holds_exactly(folder / "files", sha256s)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return folder / "files" if whole and not folder.is_symlink() else None


def digests_of(folder: Path) -> dict[str, str]:
    """sha256 by name of all files in a folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}


def cache_folder() -> Path:
    """`trainer-ext` in W&B's cache folder (`WANDB_CACHE_DIR`), else in the user's."""
    cache = (
        os.environ.get("WANDB_CACHE_DIR")
        or os.environ.get("XDG_CACHE_HOME")
        or Path.home() / ".cache"
    )
    return Path(cache) / "trainer-ext"


def warn(text: str) -> None:
    """A line on stderr."""
    print(f"warning: {text}", file=sys.stderr)
