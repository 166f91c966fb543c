"""Predictions as columns of oof.csv and submission.csv, in the words (and numbers) of the training file."""

from typing import Any

from trainer_ext.data.io.readers import Row
from trainer_ext.files import json_text
from trainer_ext.tasks import Task


def given_labels(row: Row, task: Task) -> dict[str, Any]:
    """A row's labels as they stand in the file; lists as JSON."""
    return {name: plain(row.values.get(name)) for name in task.label_columns}


def predicted_labels(task: Task, output: Any, row: Row | None = None) -> dict[str, Any]:
    """The prediction in each label column, written as labels are written in the training file (as in `row`: a list)."""
    as_list = row is not None and not isinstance(row.values.get(task.label_columns[0]), str)
    return task.to_columns(output, as_list)


def plain(value: Any) -> Any:
    """Lists as JSON, everything else as it is."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return json_text(value) if isinstance(value, (list, tuple)) else value
