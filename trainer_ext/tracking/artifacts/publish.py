"""The model of a run as an artifact: into the local store, and from there to W&B."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.own_training import greater_is_better
from trainer_ext.errors import UserError, describe_error
from trainer_ext.files import json_text, read_json
from trainer_ext.tasks import TASKS, Task
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tracking.artifacts import upload
from trainer_ext.tracking.artifacts.content import sha256_of
from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.scores import folds_beside
from trainer_ext.tracking.artifacts.store import Store
from trainer_ext.tracking.identity import Identity, identify
from trainer_ext.tracking.media import log_validation
from trainer_ext.tracking.report_files import log_report
from trainer_ext.tracking.run import sync_command, warn_if_it_fails
from trainer_ext.tracking.server import answers

logger = logging.getLogger(__name__)

# What loads the model, and what says how good it is and how it was made: no checkpoints, optimizers, plots or data.
FILES = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "model*.onnx",
    "onnx/model*.onnx",
    "native/*.json",
    "native/*.onnx",
    "export_report.json",
    "probe.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "metrics.json",
    "README.md",
    "resolved_config.yaml",
    "*.py",  # of an encoder whose code comes with it
)
# Left out of an artifact's metrics: with them the same training again would be another version.
TIMINGS = ("train_runtime", "train_samples_per_second")


Validation = tuple[Task, list, ScoredRows]
"""Task, items and scores of the validation rows, as `media.log_validation` takes them."""


def publish(
    args: Arguments,
    run: Any,
    metrics: Mapping[str, Any],
    validation: Validation | None,
) -> None:
    """Show W&B how good the model in the output folder is, and make an artifact of it.

    Runs that W&B tracks have one, and folds and seeds always; it goes into the local store, then to W&B. Nothing that
    goes wrong here ends the run: the model lies in its folder, and a line says what to do.

    Args:
        args: of the run; its folder holds the best model and its metrics.json.
        run: the W&B run, or None.
        metrics: what metrics.json holds.
        validation: what to show of the validation rows; None without any.
    """
    identity = identify(args)
    if run is None and not identity.member:
        return
    answers_now = run is not None and show_metrics(run, metrics, validation)
    if run is not None and answers_now:
        log_report(run, Path(args.training.output_dir))
    store = Store()
    version = put(store, args, Path(args.training.output_dir), identity)
    if version is None or run is None:
        return
    with warn_if_it_fails(run, f"the artifact {version.name}, which is in the local store,"):
        upload.upload(store, version, run, answers_now)
        if answers_now:
            folds = folds_beside(version.name, store.names())
            upload.mark_best_fold(run, folds, version.metadata.get("folds_hash"))


def show_metrics(run: Any, metrics: Mapping[str, Any], validation: Validation | None) -> bool:
    """Log metrics and tables to W&B; return whether more can be sent."""
    run.summary.update(metrics)
    # Asked before each large upload: W&B's client would wait for minutes for a server that has gone.
    if run.settings.mode != "offline" and not answers(run.settings.base_url):
        logger.warning("W&B has stopped answering: `%s` uploads the run", sync_command(run))
        return False
    if validation is not None:
        log_validation(run, *validation)
    return True


def put_if_missing(args: Arguments, member: str) -> None:
    """Make an artifact of a finished `member` (`fold-K`, `seed-S`, `soup`) in the local store unless it has it already.

    A training may have ended just before, or without a store that could be written.

    Args:
        args: of the whole run.
        member: name of its folder.
    """
    folder = Path(args.training.output_dir) / member
    identity = identify(args, member)
    store = Store()
    with suppress(OSError, UserError):  # `put` says what is wrong
        if store.holds(identity.artifact, artifact_files(folder)):
            return
    put(store, args, folder, identity)


def put(store: Store, args: Arguments, folder: Path, identity: Identity) -> Version | None:
    """Put the model in `folder` into the local store; None, with a warning, if that goes wrong."""
    try:
        metrics = read_json(folder / "metrics.json")
        metadata = describe(args, folder, metrics, identity.fold)
        version = store.put(identity.artifact, artifact_files(folder), metadata)
        division = metadata["folds_hash"]
        store.tag_best(
            "best-fold",
            folds_beside(version.name, store.names()),
            lambda other: other.get("folds_hash") == division,
        )
        version = store.get(str(version))  # with the aliases as they are now
    except (OSError, UserError) as error:
        logger.warning(
            "the model was not stored as an artifact (%s); it is in %s",
            describe_error(error),
            folder,
        )
        return None
    logger.info("artifact:%s (%s) is in %s", version, ", ".join(version.aliases), store.root)
    return version


def artifact_files(folder: Path) -> dict[str, Path | bytes]:
    """Return by name what of an output folder belongs into an artifact."""
    files: dict[str, Path | bytes] = {}
    for pattern in FILES:
        for path in sorted(folder.glob(pattern)):
            if path.is_file():
                files[path.relative_to(folder).as_posix()] = path
    metrics = read_json(folder / "metrics.json")
    for name in TIMINGS:
        metrics.pop(name, None)
    files["metrics.json"] = (json_text(metrics, indent=2) + "\n").encode()
    return files


def describe(
    args: Arguments,
    folder: Path,
    metrics: Mapping[str, Any],
    fold: int | None,
) -> dict[str, Any]:
    """Return metadata: the metric that chose the model and its value, the rows it was measured on, fold, task, data."""
    pipeline = read_json(folder / "config.json")["pipeline"]
    name = (args.training.metric_for_best_model or "").removeprefix("eval_")
    if f"eval_{name}" not in metrics:
        name = TASKS[pipeline["task"]].default_metric
    return {
        "task": pipeline["task"],
        "metric_name": name,
        "metric_value": metrics.get(f"eval_{name}"),
        "greater_is_better": greater_is_better(name),
        "fold": fold,
        "data_hash": pipeline["train_data_sha256"],
        "validation_hash": pipeline.get("validation_data_sha256"),
        "folds_hash": None if fold is None else division_of(folder.parent),
    }


def division_of(folder: Path) -> str | None:
    """Return a hash of the rows and of how they were dealt into folds, which all folds of a run share."""
    path = folder / "folds.json"
    if not path.is_file():
        return None
    return sha256_of(json.dumps(read_json(path), sort_keys=True).encode())
