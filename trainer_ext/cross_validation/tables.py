"""Predictions as columns of oof.csv and submission.csv, in the words (and numbers) of the training file."""

from typing import Any

import numpy as np

from trainer_ext.data.io.readers import Row
from trainer_ext.files import json_text
from trainer_ext.tasks import Task


def label_columns(task: Task) -> tuple[str, ...]:
    """The label columns of the training file."""
    return ("intent", "slots") if task.reads_words else task.label_space.columns


def given_labels(row: Row, task: Task) -> dict[str, Any]:
    """A row's labels as they stand in the file; lists as JSON."""
    return {name: plain(row.values.get(name)) for name in label_columns(task)}


def predicted_labels(task: Task, output: Any, row: Row | None = None) -> dict[str, Any]:
    """The prediction in each label column, written as labels are written in the training file (as in `row`: a list)."""
    space, columns = task.label_space, label_columns(task)
    if task.name == "joint":
        answer = task.decode(output)
        return {"intent": answer["intent"], "slots": plain(answer["tags"])}
    predicted = task.predictions(output[None])[0]
    if task.name == "regression":
        return dict(zip(columns, (round(float(value), 6) for value in predicted), strict=True))
    if task.name == "multi_label":
        if len(columns) > 1:
            return dict(zip(columns, predicted.tolist(), strict=True))
        if space.flags:
            return {columns[0]: plain(predicted.tolist())}
        chosen = [value for value, there in zip(space.values, predicted, strict=True) if there]
        as_list = row is not None and not isinstance(row.values.get(columns[0]), str)
        return {columns[0]: plain(chosen) if as_list else task.join(chosen)}
    return {
        name: space.values[k] for name, k in zip(columns, np.atleast_1d(predicted), strict=True)
    }


def probability_columns(task: Task, output: Any) -> dict[str, float]:
    """`probability_<class>` (`<aspect>_probability_<class>`); none in regression."""
    if task.name == "regression":
        return {}
    p = task.probabilities(output[0] if task.name == "joint" else output, 1.0)
    classes = task.label_space.classes
    if p.ndim == 1:
        return {
            f"probability_{name}": round(float(value), 6)
            for name, value in zip(classes, p, strict=True)
        }
    return {
        f"{column}_probability_{name}": round(float(value), 6)
        for column, row in zip(task.label_space.columns, p, strict=True)
        for name, value in zip(classes, row, strict=True)
    }


def plain(value: Any) -> Any:
    """Lists as JSON, everything else as it is."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return json_text(value) if isinstance(value, (list, tuple)) else value
