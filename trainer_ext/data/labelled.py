"""Read labelled rows as texts and encoded labels, every row checked; training and prediction share it.

Needs no framework.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trainer_ext.arguments.files import FileOptions, ending_of
from trainer_ext.data.io.readers import (
    COLUMN_FLAGS,
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
from trainer_ext.errors import UserError, errors_at
from trainer_ext.tasks import TASKS, LabelSpace, Task

logger = logging.getLogger(__name__)

SHOWN = 5  # left out rows that a note names
LISTS = (list, tuple, set, dict)
BYTES = (bytes, bytearray)


def read_labelled(path: str, task: str, options: FileOptions = DEFAULTS) -> Iterator[Row]:
    """Yield every row of a labelled file, in the formats of the task called `task`."""
    if not TASKS[task].reads_words:
        return read_rows(path, options=options)
    kind = ending_of(path) if options.file_format == "auto" else options.file_format
    # Arrays of tokens and tags are published as jsonl only, so that json can be SMP's own form.
    if kind == "json":
        return read_smp(path, options.encoding)
    return read_slot_file(path, options)


def labelled_rows(
    path: str,
    task: type[Task] | Task,
    text_column: str,
    label_columns: Sequence[str],
    options: FileOptions = DEFAULTS,
    more_columns: Sequence[str] = (),
    hint: str = COLUMN_FLAGS,
) -> Iterator[Row]:
    """Yield the rows of a labelled file; with `drop_missing` without those that have no text or label.

    Raises:
        UserError: for a column that the first row lacks, one of `more_columns` included; it ends with `hint`.
    """
    columns = [*task.required_columns(text_column, label_columns), *more_columns]
    rows = check_first_row(read_labelled(path, task.name, options), columns, path, hint)
    if options.drop_missing:
        rows = drop_missing(rows, task, text_column, label_columns, path)
    yield from rows


def check_first_row(
    rows: Iterable[Row],
    columns: Sequence[str],
    source: str,
    hint: str = COLUMN_FLAGS,
) -> Iterator[Row]:
    """Yield the rows.

    Raises:
        UserError: before the first row, when it lacks a column; `source` is named, and `hint` said.
    """
    for number, row in enumerate(rows):
        if number == 0:
            require_columns(row, columns, source, hint)
        yield row


def drop_missing(
    rows: Iterable[Row],
    task: type[Task] | Task,
    text_column: str,
    label_columns: Sequence[str],
    path: str,
) -> Iterator[Row]:
    """Yield the rows with text and labels; log at the end which were left out."""
    columns = [text_column]
    # An empty list of labels is a label: none of the classes.
    if not task.takes_lists:
        columns += label_columns
    left_out = 0
    places: list[str] = []
    for row in rows:
        if not any(is_missing(row.values.get(column)) for column in columns):
            yield row
            continue
        left_out += 1
        if len(places) < SHOWN:
            places.append(row.where.removeprefix(f"{path}, "))
    if left_out:
        named = ", ".join(places) + (", ..." if left_out > SHOWN else "")
        logger.info("%s: left out %d without text or label: %s", path, left_out, named)


def is_missing(value: Any) -> bool:
    """Return whether a value is None, blank text, or NaN, which is how parquet may store a gap."""
    is_nan = value != value
    return value is None or is_nan or not str(value).strip()


def label_space(
    rows: Iterable[Row],
    label_columns: Sequence[str],
    label_names: Sequence[str] | None,
    task: type[Task] = Task,
    separator: str = ",",
) -> LabelSpace:
    """Return the label space of `label_names` if given, else of the labels in the (training) rows."""
    if task.reads_words:
        return joint_label_space(rows)
    raw = ((row.where, raw_labels(row, label_columns, task)) for row in rows)
    return space_of(task, label_columns, label_names, raw, separator)


def space_of(
    task: type[Task],
    label_columns: Sequence[str],
    label_names: Sequence[str] | None,
    raw: Iterable[tuple[str, Sequence]],
    separator: str = ",",
) -> LabelSpace:
    """Return the label space of raw labels that come with their places.

    Raises:
        UserError: naming the row, if the labels of a row cannot be read.
    """
    place = ""

    def values() -> Iterator[Sequence]:
        nonlocal place
        for where, labels in raw:
            place = where
            yield labels
            # Between two rows, and after the last, an error is about the whole column.
            place = ""

    try:
        return task.make_space(label_columns, label_names, values(), separator)
    except UserError as error:
        raise UserError(f"{place}: {error}" if place else str(error)) from None


def raw_labels(row: Row, columns: Iterable[str], task: type[Task] | Task) -> list:
    """Return the row's labels as they stand in the file; see `raw_label`."""
    return [raw_label(row, column, task) for column in columns]


def raw_label(row: Row, column: str, task: type[Task] | Task = Task) -> Any:
    """Return the label as it stands in the file, as text (lists as they are, if the task takes them).

    Raises:
        UserError: with file and row, for a missing label, a list if the task takes none, bytes, and text that cannot be
            written again. If the task takes lists, an empty label is a list without labels.
    """
    value = row.values.get(column)
    check_characters(row, column)
    if isinstance(value, BYTES):
        # As text it would be a class called "b'good'".
        raise UserError(
            f"{row.where}: column {column!r} has bytes, {value!r:.80}; expected text or numbers"
        )
    if task.takes_lists and isinstance(value, (str, *LISTS)):
        return value
    if isinstance(value, LISTS):
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
    """Return texts (for `joint` lists of tokens), and labels as `task.encode` gives them, of each row in order.

    Raises:
        UserError: for an empty text or an unknown label, with file, row and value.
    """
    if task.reads_words:
        return words_and_labels(rows, task)
    texts = []
    labels = []
    for row in rows:
        texts.append(text_of(row, text_column))
        raw = raw_labels(row, task.label_space.columns, task)
        labels.append(encoded_labels(task, row.where, raw))
    return texts, labels


def encoded_labels(task: Task, where: str, raw: Sequence) -> Any:
    """Return `task.encode(raw)`; its errors name the place."""
    with errors_at(where):
        return task.encode(raw)
