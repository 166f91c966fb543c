"""Artifacts of the local store on W&B: uploaded, checked, and named as the store names them."""

from collections.abc import Iterable
from typing import Any

from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.scores import best_of, is_better
from trainer_ext.tracking.artifacts.store import Store

# Aliases that say how a version stands among those of the same place: the store's judgement is not the server's.
JUDGED = ("latest", "best", "best-fold")
# How long an upload may take.
SECONDS = 30
BYTES_PER_SECOND = 500_000


def upload(store: Store, version: Version, run: Any, answers: bool = True) -> None:
    """Log a version as an artifact of the run; online wait for it and compare digests.

    The files are handed over where the store keeps them, which nobody changes: no copies, and an offline run finds
    them there when it is synced.

    Args:
        store: that holds the version.
        version: to upload.
        run: an open W&B run.
        answers: whether its server does; an online run whose server has gone only notes the artifact on disk.

    Raises:
        Exception: of many types, if the server did not take it; then the run's log on disk has it for `wandb sync`.
    """
    artifact = artifact_of(store, version)
    aliases = [alias for alias in ("latest", "best") if alias in version.aliases]
    if run.settings.mode == "offline":
        run.log_artifact(artifact, aliases=aliases)
        return
    is_sent = False
    try:
        if answers:
            send(artifact, version, run)
            is_sent = True
    finally:
        if not is_sent:
            # An online run keeps no record of its artifacts on disk; this call, an offline run's, writes one.
            run._interface.publish_artifact(run, artifact, aliases, finalize=True)


def artifact_of(store: Store, version: Version) -> Any:
    """Return a version as W&B's client takes it."""
    import wandb

    metadata = {**version.metadata, "sha256": version.digest}
    artifact = wandb.Artifact(version.name, type=version.type, metadata=metadata)
    for inside, sha256 in version.sha256s.items():
        # Else the client copies each file into its staging folder and its cache.
        artifact.add_file(str(store.blob(sha256)), inside, policy="immutable", skip_cache=True)
    return artifact


def send(artifact: Any, version: Version, run: Any) -> Any:
    """Upload to a server that answers, `best` as judged by what it has; then ask for it, compare, and return it.

    Raises:
        ValueError: if the server has something else under this name afterwards.
    """
    api = api_of(run)
    digest = artifact.digest
    best = find(api, version.name, "best")
    aliases = ["latest"]
    aliases += [alias for alias in version.aliases if alias not in JUDGED]
    if is_better(version.metadata, best.metadata if best is not None else None):
        aliases.append("best")
    run.log_artifact(artifact, aliases=aliases)
    artifact.wait(timeout=SECONDS + version.size // BYTES_PER_SECOND)
    stored = api.artifact(f"{version.name}:{artifact.version}")
    if stored.digest != digest or stored.state != "COMMITTED":
        raise ValueError(
            f"{stored.name} is {stored.state} with digest {stored.digest}, not {digest}"
        )
    return stored


def find(api: Any, name: str, alias: str) -> Any:
    """Return the server's `name:alias`, or None if it has none; whatever else goes wrong is raised."""
    from wandb.errors import CommError

    try:
        return api.artifact(f"{name}:{alias}")
    except CommError as error:
        if isinstance(error.exc, ValueError):  # the server answered: it has none
            return None
        raise


def mark_best_fold(run: Any, names: Iterable[str], folds_hash: str | None = None) -> None:
    """Put `best-fold` on the best of the folds' best versions on the server, and take it off the others.

    Args:
        run: an open W&B run.
        names: of the folds' artifacts.
        folds_hash: of the division whose folds are compared.
    """
    if run.settings.mode == "offline":
        return
    api = api_of(run)
    folds = []
    comparable = []
    for name in names:
        fold = find(api, name, "best")
        if fold is None:
            continue
        folds.append(fold)
        # Folds of an earlier division of the rows may have the same names.
        if fold.metadata.get("folds_hash") == folds_hash:
            comparable.append(fold)
    best = best_of(comparable, rows="folds_hash")
    for fold in folds:
        aliases = [alias for alias in fold.aliases if alias != "best-fold"]
        if fold is best:
            aliases.append("best-fold")
        if set(aliases) != set(fold.aliases):
            fold.aliases = aliases
            fold.save()


def api_of(run: Any) -> Any:
    """Return W&B's public API, for names in the run's project."""
    import wandb

    return wandb.Api({"entity": run.entity, "project": run.project})
