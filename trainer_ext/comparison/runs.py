"""One run as it lies in its folder: its scores, its flags, and what it answered to each validation row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.cross_validation.cross_fit import cross_fitted
from trainer_ext.errors import UserError
from trainer_ext.evaluation.outputs import OUTPUTS, SavedRows, load_rows
from trainer_ext.files import read_json, read_object
from trainer_ext.inference.folder import WEIGHTS, read_pipeline
from trainer_ext.inference.members import members_of
from trainer_ext.runs.same_run import read_resolved
from trainer_ext.tasks import Task
from trainer_ext.tasks.activations import Array

MEGABYTE = 1e6


@dataclass(frozen=True)
class Answers:
    """What a run answered to its validation rows, each row once; rows are sorted by their hash.

    Attributes:
        hashes: of the rows (N,), 32 hex digits each.
        tally: of the task, (N, K).
        right: whether all of a row's labels were predicted (N,); None for scores, which are never quite right.
    """

    hashes: Array
    tally: Array
    right: Array | None


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: of the run.
        task: with the label space that all its models share.
        members: number of models: folds, seeds, or 1.
        mean: metrics of validation and test (`test_*`), means over the models.
        std: their standard deviation over the models; empty for one model.
        each: the task's default metric of each model.
        megabytes: of the weights of one model.
        seconds: of training, all models together.
        flags: of resolved_config.yaml.
        answers: one a seed, or a repetition of the folds; one for a single model.
    """

    folder: Path
    task: Task
    members: int
    mean: Mapping[str, float]
    std: Mapping[str, float]
    each: Sequence[float]
    megabytes: float
    seconds: float
    flags: Mapping[str, Any]
    answers: Sequence[Answers]


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        UserError: if it is not the folder of a finished run with validation rows.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    flags = read_resolved(folder)
    if flags is None:
        raise UserError(f"{folder} is not a run's folder: it has no resolved_config.yaml")
    # Itself, or its folds or seeds.
    models = list(map(Path, members_of(str(folder))))
    for model in models:
        check_finished(model)
    summary = read_object(folder / "cv.json")
    # It is written last, when every fold is trained.
    if len(models) > 1 and not summary:
        raise UserError(f"{folder} is not finished: it has no cv.json. Run its command again")
    metrics = [read_json(model / "metrics.json") for model in models]
    tasks = {model.name: read_pipeline(model).task for model in models}
    task = next(iter(tasks.values()))
    rows = {model.name: load_rows(model, tasks[model.name]) for model in models}
    # A model that was only scored has no time of training.
    seconds = [of_model.get("train_runtime", 0.0) for of_model in metrics]
    return Run(
        folder=folder,
        task=task,
        members=len(models),
        mean=summary.get("mean") or without_prefix(metrics[0]),
        std=summary.get("std") or {},
        each=[of_model[f"eval_{task.default_metric}"] for of_model in metrics],
        megabytes=(models[0] / WEIGHTS).stat().st_size / MEGABYTE,
        seconds=sum(seconds),
        flags=flags,
        answers=answers_of(flags, calibrated(flags, tasks, rows), rows),
    )


def check_finished(model: Path) -> None:
    """Raise `UserError` unless the folder of one model holds all that is compared."""
    for name in ("metrics.json", WEIGHTS):
        if not (model / name).is_file():
            raise UserError(f"{model} is not a finished run: it has no {name}")
    if not (model / OUTPUTS).is_file():
        raise UserError(
            f"{model} has no {OUTPUTS}: it was trained without validation rows, or by an earlier version"
        )


def without_prefix(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of one model as cv.json names them: `eval_x` as x, `test_x` as it is."""
    named = {}
    for name, value in metrics.items():
        if name.startswith(("eval_", "test_")):
            named[name.removeprefix("eval_")] = value
    return named


def calibrated(
    flags: Mapping[str, Any],
    tasks: Mapping[str, Task],
    rows: Mapping[str, SavedRows],
) -> Mapping[str, Task]:
    """Return by model the task that decides its rows, as oof.csv does: folds are calibrated on the rows of others."""
    what = flags.get("calibrate", "none")
    # A run without folds, and each seed, has calibrated itself on these very rows.
    if not flags.get("folds") or what == "none":
        return tasks
    logits = {name: of_model.logits for name, of_model in rows.items()}
    labels = {name: of_model.labels for name, of_model in rows.items()}
    return cross_fitted(tasks, logits, labels, what, flags["folds"])


def answers_of(
    flags: Mapping[str, Any],
    tasks: Mapping[str, Task],
    rows: Mapping[str, SavedRows],
) -> list[Answers]:
    """Return the answers of each seed, or of all folds of a repetition together."""
    names = list(rows)
    # The folds of a repetition have every row once between them.
    together = flags.get("folds") or 1
    passes = []
    for start in range(0, len(names), together):
        parts = [answers_of_model(tasks[name], rows[name]) for name in names[start:][:together]]
        passes.append(joined(parts))
    return passes


def answers_of_model(task: Task, rows: SavedRows) -> Answers:
    """Return the answers of one model, in the order of its rows."""
    reduced = task.reduce(rows.logits, rows.labels)
    hashes = np.array([row.tobytes().hex() for row in rows.hashes])
    return Answers(hashes, task.tally(reduced, rows.labels), task.is_right(reduced, rows.labels))


def joined(parts: Sequence[Answers]) -> Answers:
    """Return the answers of several models to rows of their own, sorted."""
    hashes = np.concatenate([part.hashes for part in parts])
    # Stable: equal rows stay in order. Which of them is which does not matter, their text and labels are the same.
    order = np.argsort(hashes, kind="stable")
    right = None
    if parts[0].right is not None:
        right = np.concatenate([part.right for part in parts])[order]
    tally = np.concatenate([part.tally for part in parts])[order]
    return Answers(hashes[order], tally, right)
