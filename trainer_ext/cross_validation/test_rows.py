"""The test rows, which all folds or seeds predict together; labelled ones are scored too."""

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.io.readers import Row, check_characters, require_columns, text_of
from trainer_ext.data.joint import tokens_of
from trainer_ext.data.labelled import labelled_rows, read_labelled, texts_and_labels
from trainer_ext.data.provenance import originals_only
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, Task


def has_test_labels(data: DataArguments) -> bool:
    """Whether the rows of test_file are labelled; unlabelled ones are only predicted, by all models together."""
    first = next(read_labelled(data.test_file, data.task, data), None)
    needed = TASKS[data.task].required_columns(data.text_column, data.label_columns)
    return first is not None and set(needed) <= set(first.values)


def read_test_rows(data: DataArguments, task: Task) -> tuple[list[Row], list, list | None]:
    """Rows, their texts (for `joint` tokens), and their labels; None where they have none.

    Labelled rows are read as each model reads them, so with `drop_missing` some are left out; of rows without labels
    each gets its answer, an empty text too.

    Raises:
        UserError: for a file without rows, a column that is not there, or a row that cannot be read, naming it.
    """
    if has_test_labels(data):
        rows = labelled_rows(data.test_file, task, data.text_column, data.label_columns, data)
        rows = list(originals_only(rows))
        texts, labels = texts_and_labels(rows, data.text_column, task)
    else:
        rows, labels = list(read_labelled(data.test_file, data.task, data)), None
        for row in rows[:1]:
            require_columns(
                row, ["tokens" if task.reads_words else data.text_column], data.test_file
            )
        texts = [
            tokens_of(row) if task.reads_words else text_of(row, data.text_column, True)
            for row in rows
        ]
    if not rows:
        raise UserError(f"{data.test_file} is empty: it has no rows")
    for row in rows if data.id_column else ():
        require_columns(row, [data.id_column], row.where)
        check_characters(row, data.id_column)
    return rows, texts, labels
