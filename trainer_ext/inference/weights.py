"""Weights of an ensemble's models: those that train.py fitted, and between folders of folds fitted on their oof.csv."""

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import raw_label
from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.inference.combine import fit_weights
from trainer_ext.inference.folder import read_pipeline
from trainer_ext.tasks import Task


def ensemble_weights(names: Sequence[str]) -> list[float]:
    """The weight of each model, which sum to 1.

    Models of one folder have the weights in its cv.json. Several folders of folds over the same rows are weighed
    against each other by the smallest loss of their joined out-of-fold predictions.

    Raises:
        UserError: when a folder has no weights, or the folders' out-of-fold predictions are not of the same rows.
    """
    groups = [
        (folder, list(group))
        for folder, group in groupby(names, key=lambda name: Path(name).parent)
    ]
    between = (
        [1.0] if len(groups) == 1 else folder_weights([folder for folder, _ in groups], names[0])
    )
    return [
        a * b
        for a, (folder, group) in zip(between, groups, strict=True)
        for b in within(folder, group)
    ]


def within(folder: Path, group: Sequence[str]) -> list[float]:
    """Weights of models of one folder, from the cv.json beside them."""
    path = folder / "cv.json"
    stored = read_json(path).get("weights", {}) if path.is_file() else {}
    chosen = [stored.get(Path(name).name) for name in group]
    if None in chosen:
        raise UserError(
            f"ensemble weighted needs weights fitted on out-of-fold predictions, but {path} has none"
        )
    return [weight / sum(chosen) for weight in chosen]


def folder_weights(folders: Sequence[Path], model: str) -> list[float]:
    """Weights of folders of folds; `model` is any of their models."""
    task = read_pipeline(Path(model)).task
    task = type(task)(task.label_space)  # oof.csv is calibrated
    if not task.oof_columns():
        raise UserError(
            f"ensemble weighted takes one folder for the task {task.name}: oof.csv does not have all probabilities"
        )
    ids, outputs, labels = zip(*(read_oof(folder, task) for folder in folders), strict=True)
    for folder, own, own_labels in zip(folders, ids, labels, strict=True):
        if own != ids[0] or not np.array_equal(
            own_labels, labels[0]
        ):  # ids may be mere numbers of rows
            differ = "different rows" if own != ids[0] else "rows with different labels"
            raise UserError(
                f"ensemble weighted: {folder} and {folders[0]} were validated on {differ}"
            )
    return fit_weights([task] * len(folders), outputs, labels[0])


def read_oof(folder: Path, task: Task) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, outputs (N, *head_shape) and labels of an oof.csv.

    Raises:
        UserError: when there is none, or it lacks a column.
    """
    path = folder / "oof.csv"
    if not path.is_file():
        raise UserError(
            f"ensemble weighted: {folder} has no oof.csv to weigh it against the others"
        )
    columns, names = task.label_columns, task.oof_columns()
    with open(path, encoding="utf-8", newline="") as file:
        rows = [
            Row(record, f"{path}, row {number}")
            for number, record in enumerate(csv.DictReader(file), 1)
        ]
    try:
        values = np.array([[float(row.values[name]) for name in names] for row in rows])
        labels = [task.encode([raw_label(row, column, task) for column in columns]) for row in rows]
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} does not fit its models: {error}") from error
    outputs = task.from_ensemble_values(values.reshape(len(rows), *task.head_shape))
    return (
        [str(next(iter(row.values.values()))) for row in rows],
        outputs,
        task.stack_labels(labels),
    )
