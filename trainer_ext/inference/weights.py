"""Weights of an ensemble's models: those that train.py fitted, and between folders of folds fitted on their oof.csv."""

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import raw_label
from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.inference.combine import fit_weights
from trainer_ext.inference.folder import read_pipeline
from trainer_ext.inference.members import MEMBER
from trainer_ext.tasks import Task


class OutOfFold(NamedTuple):
    """The out-of-fold predictions of one folder, in the order of its oof.csv.

    Attributes:
        ids: of the rows.
        outputs: logits (N, *head_shape).
        labels: (N, ...).
    """

    ids: list[str]
    outputs: np.ndarray
    labels: np.ndarray


def ensemble_weights(names: Sequence[str]) -> list[float]:
    """Return the weight of each model; they sum to 1.

    Models of one folder have the weights in its cv.json. Several folders of folds over the same rows are weighed
    against each other by the smallest loss of their joined out-of-fold predictions.

    Raises:
        UserError: if a folder has no weights, or the folders' out-of-fold predictions are not of the same rows.
    """
    folders: list[Path] = []
    within_folders: list[list[float]] = []
    for folder, group in groupby(names, key=lambda name: Path(name).parent):
        folders.append(folder)
        within_folders.append(member_weights(folder, list(group)))
    between = [1.0]
    if len(folders) > 1:
        between = folder_weights(folders, names[0])
    weights: list[float] = []
    for share, members in zip(between, within_folders, strict=True):
        for weight in members:
            weights.append(share * weight)
    return weights


def member_weights(folder: Path, names: Sequence[str]) -> list[float]:
    """Return the weights of models of one folder, from its cv.json; they sum to 1."""
    path = folder / "cv.json"
    stored: dict[str, float] = {}
    if path.is_file():
        stored = read_json(path).get("weights", {})
    weights: list[float] = []
    for name in names:
        weight = stored.get(Path(name).name)
        if weight is None:
            problem = f"{path} has none"
            if not MEMBER.fullmatch(Path(name).name):
                problem = f"{name} is a single model"
            raise UserError(
                "ensemble weighted needs weights fitted on out-of-fold predictions, as folders of "
                f"cross-validations over the same rows have them, but {problem}"
            )
        weights.append(weight)
    # Not all members may be here: then their weights do not sum to 1.
    total = sum(weights)
    return [weight / total for weight in weights]


def folder_weights(folders: Sequence[Path], model: str) -> list[float]:
    """Return the weights of folders of folds; `model` is any of their models."""
    task = read_pipeline(Path(model)).task
    # oof.csv has calibrated probabilities: a temperature would be applied twice.
    task = type(task)(task.label_space)
    if not task.oof_columns():
        raise UserError(
            f"ensemble weighted takes one folder for the task {task.name}: "
            "oof.csv does not have all probabilities"
        )
    predictions = [read_oof(folder, task) for folder in folders]
    first = predictions[0]
    for folder, other in zip(folders, predictions, strict=True):
        check_same_rows(folders[0], first, folder, other)
    return fit_weights(
        [task] * len(folders), [prediction.outputs for prediction in predictions], first.labels
    )


def check_same_rows(
    first_folder: Path,
    first: OutOfFold,
    other_folder: Path,
    other: OutOfFold,
) -> None:
    """Raise `UserError` unless two folders were validated on the same rows."""
    differ = ""
    if other.ids != first.ids:
        differ = "different rows"
    elif not np.array_equal(other.labels, first.labels):
        # Ids may be no more than row numbers, which any two files of the same length share.
        differ = "rows with different labels"
    if differ:
        raise UserError(
            f"ensemble weighted: {other_folder} and {first_folder} were validated on {differ}"
        )


def read_oof(folder: Path, task: Task) -> OutOfFold:
    """Read the oof.csv of a folder.

    Raises:
        UserError: if it is not there, or lacks a column.
    """
    path = folder / "oof.csv"
    if not path.is_file():
        raise UserError(
            f"ensemble weighted: {folder} has no oof.csv to weigh it against the others"
        )
    ids: list[str] = []
    values: list[float] = []
    labels: list[Any] = []
    # Not by pandas: predictions from an ONNX folder do without it.
    with open(path, encoding="utf-8", newline="") as file:
        for number, record in enumerate(csv.DictReader(file), 1):
            row = Row(record, f"{path}, row {number}")
            ids.append(str(next(iter(record.values()))))
            try:
                for name in task.oof_columns():
                    values.append(float(record[name]))
                raw = [raw_label(row, column, task) for column in task.label_columns]
                labels.append(task.encode(raw))
            except (KeyError, ValueError) as error:
                raise UserError(f"{path} does not fit its models: {error}") from error
    outputs = np.array(values).reshape(len(ids), *task.head_shape)
    return OutOfFold(ids, task.from_ensemble_values(outputs), task.stack_labels(labels))
