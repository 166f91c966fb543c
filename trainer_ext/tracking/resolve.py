"""Where a model is: a folder, `artifact:NAME:ALIAS` of the local store, or `wandb:ENTITY/PROJECT/NAME:ALIAS`.

W&B's answer says which content an alias means. The content comes from the local store where that has it, else from
the cache, else it is downloaded into the cache and checked. Without an answer the cache's last one counts, or the
local store's alias of that name, with a warning. Imports the standard library only; wandb where it is asked.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.files import write_json
from trainer_ext.tracking.scores import NAME, split_reference
from trainer_ext.tracking.server import check_reachable, has_api_key, in_one_line, set_limits
from trainer_ext.tracking.store import Store, Version, check_inside, content_digest, sha256_of

PLACE = re.compile(r"[A-Za-z0-9][\w.-]*")  # of an entity or project: nothing that leads out of a folder


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
    if not (PLACE.fullmatch(entity) and PLACE.fullmatch(project) and NAME.fullmatch(name.partition(":")[0])):
        raise UserError(f"model wandb:{reference} is not of the form wandb:ENTITY/PROJECT/NAME:ALIAS")
    name, alias = split_reference(name)
    known = cache_folder() / "refs" / entity / project / name / f"{alias}.json"
    try:
        artifact = ask_server(f"{entity}/{project}/{name}:{alias}")
    except NoAnswerError as error:
        return without_server(reference, known, name, alias, str(error))
    store = Store()
    version = version_with(store, artifact.metadata.get("sha256"))
    folder = store.checkout(version) if version else download(artifact)
    write_json(known, {"digest": artifact.digest, "sha256": artifact.metadata.get("sha256")})
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
            raise UserError(f"model wandb:{path}: {in_one_line(error)}") from error
        raise NoAnswerError(in_one_line(error)) from error


def without_server(reference: str, known: Path, name: str, alias: str, why: str) -> Path:
    """What is here under the same name, with a warning."""
    store = Store()
    if known.is_file():
        stored = json.loads(known.read_text(encoding="utf-8"))
        version, cached = version_with(store, stored["sha256"]), cache_folder() / stored["digest"]
        folder = store.checkout(version) if version else cached / "files" if is_whole(cached) else None
        if folder:
            warn(f"W&B does not answer ({why}); wandb:{reference} is what it was when it last did")
            return folder
    if not re.fullmatch(r"v\d+", alias) and name in store.names():  # the server counts versions by itself
        version = store.get(f"{name}:{alias}")
        warn(f"W&B does not answer ({why}); taking artifact:{version} of the local store for wandb:{reference}")
        return store.checkout(version)
    raise UserError(f"model wandb:{reference} is not here, and W&B does not answer ({why})")


def version_with(store: Store, sha256: str | None) -> Version | None:
    """A version of the local store with this content."""
    versions = (version for name in store.names() for version in store.versions(name)) if sha256 else ()
    return next((version for version in versions if version.digest == sha256), None)


def download(artifact: Any) -> Path:
    """The artifact's files in the cache, by their digest; downloaded and checked unless they are there whole."""
    folder = cache_folder() / artifact.digest
    if is_whole(folder):
        return folder / "files"
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        for inside in artifact.manifest.entries:
            check_inside(inside)
        artifact.download(root=str(beside / "files"), skip_cache=True)
        artifact.verify(root=str(beside / "files"))
        sha256s = digests_of(beside / "files")
        expected = artifact.metadata.get("sha256")
        if expected and content_digest(sha256s) != expected:
            raise ValueError("the content is not what its metadata say")
        write_json(beside / "sha256.json", sha256s)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(beside, folder)
    except Exception as error:  # W&B raises many types
        if is_whole(folder):  # another process was faster
            return folder / "files"
        raise UserError(f"model wandb:{artifact.qualified_name} cannot be downloaded: {in_one_line(error)}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder / "files"


def is_whole(folder: Path) -> bool:
    """Whether a folder of the cache is there, and every file as it was downloaded."""
    try:
        stored = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return digests_of(folder / "files") == stored


def digests_of(folder: Path) -> dict[str, str]:
    """sha256 by name of all files in a folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}


def cache_folder() -> Path:
    """`trainer-ext` in W&B's cache folder (`WANDB_CACHE_DIR`), else in the user's."""
    cache = os.environ.get("WANDB_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "trainer-ext"


def warn(text: str) -> None:
    """A line on stderr."""
    print(f"warning: {text}", file=sys.stderr)
