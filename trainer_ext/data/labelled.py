"""Rows to texts and encoded labels, every row checked. Needs no framework: training and `predict.py` share it."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trainer_ext.arguments.files import FileOptions, ending_of
from trainer_ext.data.io.readers import (
    DEFAULTS,
    Row,
    check_characters,
    read_rows,
    require_columns,
    text_of,
)
from trainer_ext.data.io.slot_files import read_slot_file
from trainer_ext.data.io.smp import read_smp
from trainer_ext.data.joint import joint_label_space, words_and_labels
from trainer_ext.errors import UserError
from trainer_ext.tasks import LabelSpace, Task
from trainer_ext.tasks.joint import Joint


def read_labelled(path: str, task: str, options: FileOptions = DEFAULTS) -> Iterator[Row]:
    """Every row of a labelled file, in the formats that the task called `task` has."""
    if task != Joint.name:
        return read_rows(path, options=options)
    kind = ending_of(path) if options.file_format == "auto" else options.file_format
    return read_smp(path, options.encoding) if kind == "json" else read_slot_file(path, options)


def labelled_rows(
    path: str,
    task: type[Task] | Task,
    text_column: str,
    label_columns: Sequence[str],
    options: FileOptions = DEFAULTS,
    more_columns: Sequence[str] = (),
) -> Iterator[Row]:
    """Yield the rows of a labelled file; with `drop_missing` without those that have no text or label.

    Raises:
        UserError: for a column that the first row lacks, one of `more_columns` included.
    """
    columns = [*task.required_columns(text_column, label_columns), *more_columns]
    rows = check_first_row(read_labelled(path, task.name, options), columns, path)
    if options.drop_missing:
        rows = drop_missing(rows, task, text_column, label_columns, path)
    yield from rows


def check_first_row(rows: Iterable[Row], columns: Sequence[str], source: str) -> Iterator[Row]:
    """Yield the rows.

    Raises:
        UserError: before the first row, when it lacks a column; `source` is named.
    """
    for number, row in enumerate(rows):
        if number == 0:
            require_columns(row, columns, source)
        yield row


def drop_missing(
    rows: Iterable[Row],
    task: type[Task] | Task,
    text_column: str,
    label_columns: Sequence[str],
    path: str,
) -> Iterator[Row]:
    """Rows with text and labels; at the end says on stderr which were left out."""
    left_out, named = 0, []
    for row in rows:
        gaps = (text_column, *(() if task.takes_lists else label_columns))
        if any(is_missing(row.values.get(column)) for column in gaps):
            left_out += 1
            named += [row.where.removeprefix(f"{path}, ")] if len(named) < 5 else []
        else:
            yield row
    if left_out:
        more = ", ..." if left_out > len(named) else ""
        print(
            f"note: {path}: left out {left_out} without text or label: {', '.join(named)}{more}",
            file=sys.stderr,
        )


def is_missing(value: Any) -> bool:
    """Nothing, blank text, or NaN, which is how parquet may store a gap."""
    return value is None or value != value or str(value).strip() == ""


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
    raw = ((row.where, [raw_label(row, name, task) for name in label_columns]) for row in rows)
    return space_of(task, label_columns, label_names, raw, separator)


def space_of(
    task: type[Task],
    label_columns: Sequence[str],
    label_names: Sequence[str] | None,
    raw: Iterable[tuple[str, Sequence]],
    separator: str = ",",
) -> LabelSpace:
    """The label space of raw labels that come with their places.

    Raises:
        UserError: naming the row, where it is the labels of a row that cannot be read.
    """
    place = ""

    def values() -> Iterator[Sequence]:
        nonlocal place
        for where, labels in raw:
            place = where
            yield labels
            place = ""  # what is wrong now says itself where, or is wrong with the whole column

    try:
        return task.make_space(label_columns, label_names, values(), separator)
    except UserError as error:
        raise UserError(f"{place}: {error}" if place else str(error)) from None


def raw_label(row: Row, column: str, task: type[Task] | Task = Task) -> Any:
    """The label as it stands in the file, as text (lists as they are, where the task takes them).

    Raises:
        UserError: with file and row when it is missing; an empty one is a list without labels where lists are taken.
            For a list where none are taken, and for text that cannot be written again.
    """
    value = row.values.get(column)
    check_characters(row, column)
    if task.takes_lists and isinstance(value, (list, tuple, set, dict, str)):
        return value
    if isinstance(value, (list, tuple, set, dict)):
        raise UserError(
            f"{row.where}: column {column!r} has a {type(value).__name__}, {value!r:.80}, where the task {task.name} "
            "takes one value"
        )
    if is_missing(value):
        raise UserError(
            f"{row.where}: the label in column {column!r} is missing (--drop_missing leaves out such rows)"
        )
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
        labels.append(encoded_labels(task, row.where, raw))
    return texts, labels


def encoded_labels(task: Task, where: str, raw: Sequence) -> Any:
    """`task.encode`, whose errors name the place."""
    try:
        return task.encode(raw)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
