"""Artifacts of the local store on W&B: uploaded, checked, and named as the store names them."""

from collections.abc import Iterable
from typing import Any

from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.scores import best_of, is_better
from trainer_ext.tracking.artifacts.store import Store

JUDGED = (
    "latest",
    "best",
    "best-fold",
)  # aliases that say how a version stands among those of the same place
SECONDS, BYTES_PER_SECOND = 30, 500_000  # how long an upload may take


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
        Exception: of many types, when the server did not take it; then the run's log on disk has it for `wandb sync`.
    """
    artifact = artifact_of(store, version)
    aliases = [alias for alias in ("latest", "best") if alias in version.aliases]
    if run.settings.mode == "offline":
        run.log_artifact(artifact, aliases=aliases)
        return
    try:
        if answers:
            send(artifact, version, run)
    except Exception:
        answers = False
        raise
    finally:
        if not answers:  # an online run keeps no record of its artifacts; this call, an offline run's, writes one
            run._interface.publish_artifact(run, artifact, aliases, finalize=True)


def artifact_of(store: Store, version: Version) -> Any:
    """A version as W&B's client takes it."""
    import wandb

    artifact = wandb.Artifact(
        version.name, type=version.type, metadata={**version.metadata, "sha256": version.digest}
    )
    for inside, entry in version.files.items():
        artifact.add_file(
            str(store.blob(entry["sha256"])), inside, policy="immutable", skip_cache=True
        )
    return artifact


def send(artifact: Any, version: Version, run: Any) -> Any:
    """Upload to a server that answers, `best` as judged by what it has; then ask for it, compare, and return it."""
    api, digest = api_of(run), artifact.digest
    best = find(api, version.name, "best")
    better = is_better(version.metadata, best and best.metadata)
    own = [alias for alias in version.aliases if alias not in JUDGED]
    run.log_artifact(artifact, aliases=["latest", *own, *(["best"] if better else [])])
    artifact.wait(timeout=SECONDS + version.size // BYTES_PER_SECOND)
    stored = api.artifact(f"{version.name}:{artifact.version}")
    if stored.digest != digest or stored.state != "COMMITTED":
        raise ValueError(
            f"{stored.name} is {stored.state} with digest {stored.digest}, not {digest}"
        )
    return stored


def find(api: Any, name: str, alias: str) -> Any:
    """The server's `name:alias`, or None when it has none; whatever else goes wrong is raised."""
    from wandb.errors import CommError

    try:
        return api.artifact(f"{name}:{alias}")
    except CommError as error:
        if isinstance(error.exc, ValueError):  # the server answered: there is none
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
    folds = [found for name in names if (found := find(api, name, "best")) is not None]
    comparable = [fold for fold in folds if fold.metadata.get("folds_hash") == folds_hash]
    best = best_of(comparable, rows="folds_hash")
    for fold in folds:
        has, should = "best-fold" in fold.aliases, fold is best
        if has != should:
            fold.aliases = [alias for alias in fold.aliases if alias != "best-fold"] + [
                "best-fold"
            ] * should
            fold.save()


def api_of(run: Any) -> Any:
    """W&B's public API, for names in the run's project."""
    import wandb

    return wandb.Api({"entity": run.entity, "project": run.project})
