"""Upload versions of the local store to W&B, whatever became of their runs (`python -m trainer_ext.tracking push`).

What was trained offline, or elsewhere, reaches the server from the store alone: `wandb sync` needs the run's folder
where it was made.
"""

import os
from collections.abc import Iterable
from typing import Any

from trainer_ext.errors import RunError, UserError, describe_error
from trainer_ext.redaction import shown_command_line
from trainer_ext.tracking.artifacts import upload
from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.scores import folds_beside
from trainer_ext.tracking.artifacts.store import Store
from trainer_ext.tracking.server import check_reachable, has_api_key, set_limits


def push(store: Store, references: Iterable[str]) -> None:
    """Upload versions in one W&B run of `job_type=push`, and say under which names they are there.

    Args:
        store: that holds them.
        references: `NAME` for all versions of a name, oldest first, or `NAME:ALIAS` for one.

    Raises:
        UserError: for what is not in the store or is damaged there, and if W&B is switched off or has no key.
        RunError: if the server does not take one; those before it are there, and are not sent twice.
    """
    versions = versions_of(store, references)
    # Before anything is sent: a damaged file is found only when it is read.
    for version in versions:
        store.check_blobs(version)
    check_online()
    import wandb

    os.environ.setdefault("WANDB_PROJECT", "trainer-ext")
    try:
        check_reachable(wandb.setup().settings.base_url)
        with shown_command_line():
            run = wandb.init(mode="online", job_type="push", name="push")
    except (wandb.errors.Error, OSError) as error:
        raise RunError(f"W&B does not answer: {describe_error(error)}") from error
    failed = True
    try:
        for version in versions:
            push_one(store, version, run)
        failed = False
    finally:
        run.finish(exit_code=int(failed))


def push_one(store: Store, version: Version, run: Any) -> None:
    """Upload one version with its aliases; `best` and `best-fold` as judged by what the server has."""
    try:
        stored = upload.send(upload.artifact_of(store, version), version, run)
        if version.metadata.get("fold") is not None:
            names = folds_beside(version.name, store.names())
            upload.mark_best_fold(run, names, version.metadata.get("folds_hash"))
    except Exception as error:  # W&B raises many types
        raise RunError(f"W&B did not take artifact:{version} ({describe_error(error)})") from error
    place = f"{run.entity}/{run.project}/{stored.name}"
    # At once: an upload takes minutes, and whoever reads a pipe waits.
    print(f"artifact:{version} is wandb:{place}", flush=True)


def versions_of(store: Store, references: Iterable[str]) -> list[Version]:
    """Return the versions that references name, each once."""
    versions: dict[str, Version] = {}
    for reference in references:
        found = [store.get(reference)]  # raises an error that says what there is
        if ":" not in reference:
            found = store.versions(reference)
        for version in found:
            versions.setdefault(str(version), version)
    return list(versions.values())


def check_online() -> None:
    """Raise `UserError` unless W&B is switched on and has a key."""
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise UserError(f"push needs W&B online, but WANDB_MODE is {mode}")
    set_limits()
    if not has_api_key():
        raise UserError("push needs an API key: set WANDB_API_KEY or run `wandb login`")
