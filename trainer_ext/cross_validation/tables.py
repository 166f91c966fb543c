"""Labels and predictions as columns of oof.csv and submission.csv, written as they are in the training file."""

from typing import Any

from trainer_ext.data.io.readers import Row
from trainer_ext.files import json_text
from trainer_ext.tasks import Task


def given_labels(row: Row, task: Task) -> dict[str, Any]:
    """Return a row's labels as they are in its file; lists as JSON."""
    return {name: as_cell(row.values.get(name)) for name in task.label_columns}


def predicted_labels(task: Task, output: Any, row: Row | None = None) -> dict[str, Any]:
    """Return the prediction in each label column.

    Args:
        task: decodes the output.
        output: of one row.
        row: with labels; several are written as a list if its own are one, else joined by the separator.
    """
    as_list = row is not None and not isinstance(row.values.get(task.label_columns[0]), str)
    return task.to_columns(output, as_list)


def as_cell(value: Any) -> Any:
    """Return lists and arrays as JSON, everything else as it is."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return json_text(value)
    return value
