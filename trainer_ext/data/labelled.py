"""Rows to texts and encoded labels, every row checked. Needs no framework: training and `predict.py` share it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trainer_ext.data.joint import joint_label_space, words_and_labels
from trainer_ext.data.readers import Row, read_rows, text_of
from trainer_ext.data.slu import read_slu
from trainer_ext.errors import UserError
from trainer_ext.tasks import LabelSpace, Task
from trainer_ext.tasks.joint import Joint


def read_labelled(path: str, task: str) -> Iterator[Row]:
    """Every row of a labelled file, in the formats that the task called `task` has."""
    return read_slu(path) if task == Joint.name else read_rows(path)


def label_space(
    rows: Iterable[Row],
    label_columns: Sequence[str],
    label_names: Sequence[str] | None,
    task: type[Task] = Task,
    separator: str = ",",
) -> LabelSpace:
    """What the task makes of `label_names` when given, else of the values in the (training) rows."""
    if task is Joint:
        return joint_label_space(rows)
    raw = ([raw_label(row, name, task) for name in label_columns] for row in rows)
    return task.make_space(label_columns, label_names, raw, separator)


def raw_label(row: Row, column: str, task: type[Task] | Task = Task) -> Any:
    """The label as it stands in the file, as text (lists as they are, where the task takes them).

    Raises:
        UserError: with file and row when it is missing; an empty one is a list without labels where lists are taken.
    """
    value = row.values.get(column)
    if task.takes_lists and isinstance(value, (list, str)):
        return value
    if value is None or value != value or str(value).strip() == "":  # NaN is how parquet may store a gap
        raise UserError(f"{row.where}: the label in column {column!r} is missing")
    return str(value)


def texts_and_labels(rows: Iterable[Row], text_column: str, task: Task) -> tuple[list, list]:
    """Texts (for `joint` lists of tokens), and labels as `task.encode` gives them, of each row in order.

    Raises:
        UserError: for an empty text or an unknown label, with file, row and value.
    """
    if isinstance(task, Joint):
        return words_and_labels(rows, task)
    texts, labels = [], []
    for row in rows:
        texts.append(text_of(row, text_column))
        raw = [raw_label(row, column, task) for column in task.label_space.columns]
        try:
            labels.append(task.encode(raw))
        except UserError as error:
            raise UserError(f"{row.where}: {error}") from None
    return texts, labels
