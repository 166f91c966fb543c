"""The test rows, which all folds or seeds predict together; labelled ones are scored too."""

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.io.readers import Row, check_characters, require_columns, text_of
from trainer_ext.data.joint import tokens_of
from trainer_ext.data.labelled import (
    check_first_row,
    labelled_rows,
    read_labelled,
    texts_and_labels,
)
from trainer_ext.data.provenance import originals_only
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, Task


def has_test_labels(data: DataArguments) -> bool:
    """Return whether the rows of test_file are labelled; others are only predicted, by all models together."""
    assert data.test_file is not None
    first = next(read_labelled(data.test_file, data.task, data), None)
    if first is None:
        return False
    needed = TASKS[data.task].required_columns(data.text_column, data.label_columns)
    return set(needed) <= set(first.values)


def read_test_rows(data: DataArguments, task: Task) -> tuple[list[Row], list, list | None]:
    """Return the rows, their texts (lists of words if the task reads words), and their labels, None without any.

    Labelled rows are read as each model reads them, so that `drop_missing` leaves some out. Each row without labels
    gets its answer, also if its text is empty.

    Raises:
        UserError: for a file without rows, a column that is not there, or a row that cannot be read, naming it.
    """
    assert data.test_file is not None
    path = data.test_file
    labels: list | None = None
    if has_test_labels(data):
        read = labelled_rows(path, task, data.text_column, data.label_columns, data)
        rows = list(originals_only(read))
        texts, labels = texts_and_labels(rows, data.text_column, task)
    else:
        rows = unlabelled_rows(path, data, task)
        texts = [input_of(row, data, task) for row in rows]
    if not rows:
        raise UserError(f"{path} is empty: it has no rows")
    if data.id_column:
        # Every row: in jsonl one may lack what the others have, and the submission names each.
        for row in rows:
            require_columns(row, [data.id_column], row.where)
            check_characters(row, data.id_column)
    return rows, texts, labels


def unlabelled_rows(path: str, data: DataArguments, task: Task) -> list[Row]:
    """Return the rows of a file of which only the text is needed."""
    column = "tokens" if task.reads_words else data.text_column
    return list(check_first_row(read_labelled(path, data.task, data), [column], path))


def input_of(row: Row, data: DataArguments, task: Task) -> str | list[str]:
    """Return the text of a row, or its words if the task reads words."""
    if task.reads_words:
        return tokens_of(row)
    return text_of(row, data.text_column, allow_empty=True)
