"""The model of a run as an artifact: into the local store, and from there to W&B."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.own_training import greater_is_better
from trainer_ext.errors import UserError, describe_error
from trainer_ext.files import json_text, read_json
from trainer_ext.tasks import TASKS
from trainer_ext.tracking.artifacts import upload
from trainer_ext.tracking.artifacts.content import sha256_of
from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.scores import folds_beside
from trainer_ext.tracking.artifacts.store import Store
from trainer_ext.tracking.identity import Identity, identify
from trainer_ext.tracking.media import log_validation
from trainer_ext.tracking.run import sync_command, unharmed
from trainer_ext.tracking.server import answers

# What loads the model, and what says how good it is and how it was made: no checkpoints, optimizers, plots or data.
FILES = (
    *(
        "config.json",
        "model*.safetensors",
        "model.safetensors.index.json",
        "model*.onnx",
        "export_report.json",
    ),
    *(
        "tokenizer*.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.*",
        "merges.txt",
        "*.model",
    ),
    *("metrics.json", "README.md", "resolved_config.yaml"),
    "*.py",  # of an encoder that is code of its own
)
TIMINGS = (
    "train_runtime",
    "train_samples_per_second",
)  # else the same training again were another version


def publish(args: Arguments, run: Any, metrics: dict[str, float], shown: tuple | None) -> None:
    """Show W&B how good the model in the output folder is, and make an artifact of it.

    Runs that W&B tracks have one, and folds and seeds always; it goes into the local store, then to W&B. Nothing that
    goes wrong here ends the run: the model lies in its folder, and a line says what to do.

    Args:
        args: of the run; its folder holds the best model and its metrics.json.
        run: the W&B run, or None.
        metrics: what metrics.json holds.
        shown: what `media.log_validation` shows: task, items and scores of the validation rows; None without any.
    """
    identity, there = identify(args), True
    if run is not None:
        run.summary.update(metrics)
        there = run.settings.mode == "offline" or answers(run.settings.base_url)
        if not there:
            print(f"W&B has stopped answering: `{sync_command(run)}` uploads the run")
        elif shown is not None:
            log_validation(run, *shown)
    elif not identity.member:
        return
    store = Store()
    version = put(store, args, Path(args.training.output_dir), identity)
    if version is not None and run is not None:
        with unharmed(run, f"the artifact {version.name}, which is in the local store,"):
            upload.upload(store, version, run, there)
            if there:
                folds = folds_beside(version.name, store.names())
                upload.mark_best_fold(run, folds, version.metadata.get("folds_hash"))


def put_if_missing(args: Arguments, member: str) -> None:
    """Make an artifact of a finished `member` (`fold-K`, `seed-S`, `soup`) in the local store unless it has it already.

    A training may have ended just before, or without a store that could be written.

    Args:
        args: of the whole run.
        member: name of its folder.
    """
    folder, identity, store = (
        Path(args.training.output_dir) / member,
        identify(args, member),
        Store(),
    )
    with suppress(OSError, UserError):  # `put` says what is wrong
        if store.holds(identity.artifact, artifact_files(folder)):
            return
    put(store, args, folder, identity)


def put(store: Store, args: Arguments, folder: Path, identity: Identity) -> Version | None:
    """Put the model in `folder` into the local store and say so; None, and a line, when that goes wrong."""
    try:
        metrics = read_json(folder / "metrics.json")
        version = store.put(
            identity.artifact,
            artifact_files(folder),
            describe(args, folder, metrics, identity.fold),
        )
        division = version.metadata.get("folds_hash")
        store.tag_best(
            "best-fold",
            folds_beside(version.name, store.names()),
            lambda other: other.get("folds_hash") == division,
        )
        version = store.get(str(version))
    except (OSError, UserError) as error:
        print(
            f"the model was not stored as an artifact ({describe_error(error)}); it is in {folder}"
        )
        return None
    print(f"artifact:{version} ({', '.join(version.aliases)}) is in {store.root}", flush=True)
    return version


def artifact_files(folder: Path) -> dict[str, Path | bytes]:
    """By name what of an output folder belongs into an artifact."""
    files = {
        path.name: path
        for pattern in FILES
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
    metrics = {
        name: value
        for name, value in read_json(folder / "metrics.json").items()
        if name not in TIMINGS
    }
    return files | {"metrics.json": (json_text(metrics, indent=2) + "\n").encode()}


def describe(
    args: Arguments, folder: Path, metrics: dict[str, float], fold: int | None
) -> dict[str, Any]:
    """Metadata: the metric that chose the model and its value, on which rows it was measured, fold, task and data."""
    pipeline = read_json(folder / "config.json")["pipeline"]
    chosen = (args.training.metric_for_best_model or "").removeprefix("eval_")
    name = chosen if f"eval_{chosen}" in metrics else TASKS[pipeline["task"]].default_metric
    return {
        "task": pipeline["task"],
        "metric_name": name,
        "metric_value": metrics.get(f"eval_{name}"),
        "greater_is_better": greater_is_better(name),
        "fold": fold,
        "data_hash": pipeline["train_data_sha256"],
        "validation_hash": pipeline.get("validation_data_sha256"),
        "folds_hash": division_of(folder.parent) if fold is not None else None,
    }


def division_of(folder: Path) -> str | None:
    """A hash of the rows and of how they were dealt into folds, which all folds of a run share."""
    path = folder / "folds.json"
    return (
        sha256_of(json.dumps(read_json(path), sort_keys=True).encode()) if path.is_file() else None
    )
