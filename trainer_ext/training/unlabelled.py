"""Training rows without labels (`--unlabelled_file`), which the student learns from by the teacher's answers alone."""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.dataset import refuse_empty
from trainer_ext.data.io.readers import Row, read_rows, text_of
from trainer_ext.data.io.slot_files import read_slot_file
from trainer_ext.data.joint import tokens_of
from trainer_ext.data.labelled import is_missing
from trainer_ext.data.preprocessing.tokenize import IGNORE
from trainer_ext.data.teacher_outputs import LABELLED, TEACHER_ROW
from trainer_ext.errors import UserError, errors_at
from trainer_ext.inference.job import find_text_column, slot_file_intents
from trainer_ext.tasks import Task

logger = logging.getLogger(__name__)


def read_unlabelled(paths: Sequence[str], data: DataArguments, task: Task) -> list[Any]:
    """Return the texts (of a task that reads words, lists of them) of all files, in order.

    The column is `--text_column`, else `text`, else the only one; of words also `tokens`. In a txt file a known label
    after the last tab is not part of the text.

    Raises:
        UserError: for an empty file, and for a row without text, with file and row.
    """
    texts: list[Any] = []
    for path in paths:
        rows = refuse_empty(rows_without_labels(path, data, task), path)
        first = next(rows)
        column = None
        if not (task.reads_words and "tokens" in first.values):
            column = find_text_column(first, data.text_column)
        for row in chain([first], rows):
            if data.drop_missing and is_missing(row.values.get(column or "tokens")):
                continue
            texts.append(input_of(row, column, task))
    return texts


def rows_without_labels(path: str, data: DataArguments, task: Task) -> Iterator[Row]:
    """Yield the rows of a file whose labels, if it has some, are not needed."""
    if not task.reads_words:
        return read_rows(path, task.is_label, data)
    has_intents = slot_file_intents(path, data)
    if has_intents is None:
        return read_rows(path, None, data)
    return read_slot_file(path, data, intents_inside=has_intents)


def input_of(row: Row, column: str | None, task: Task) -> Any:
    """Return a row's text, or its words: its `tokens` without a column, else those of its text."""
    if column is None:
        tokens = tokens_of(row)
        if not tokens:
            raise UserError(f"{row.where}: 'tokens' is empty")
        return tokens
    text = text_of(row, column)
    if not task.reads_words:
        return text
    with errors_at(row.where):
        words: list[str] = task.prepare(text).words
    return words


def without_labels(texts: Sequence[Any], train: Dataset) -> Dataset:
    """Return texts as a data set with the columns of the training rows, in place of labels what no loss counts.

    Args:
        texts: of `read_unlabelled`.
        train: the labelled rows.
    """
    label = np.asarray(train[0]["labels"])
    # The shape of a label; a missing score is not a number.
    gap = np.full_like(label, np.nan if label.dtype.kind == "f" else IGNORE).tolist()
    columns: dict[str, list] = {"text": list(texts), "labels": [gap] * len(texts)}
    if "words" in train.column_names:
        columns["text"] = [" ".join(words) for words in texts]
        columns["words"] = list(texts)
        columns["token_labels"] = [[IGNORE] * len(words) for words in texts]
    return Dataset.from_dict(columns)


def choose_pseudo_labels(confidences: np.ndarray, threshold: float) -> np.ndarray:
    """Return the numbers of the rows whose teacher is at least as sure as the threshold; log how many.

    Raises:
        UserError: if there are none.
    """
    # The stored numbers are float32, in which 0.9 is less than 0.9.
    chosen = np.flatnonzero(confidences >= np.float32(threshold))
    if not len(chosen):
        raise UserError(
            f"pseudo_label_threshold {threshold:g}: the teacher is not as sure of any text of unlabelled_file; at "
            f"most {confidences.max():.4f}"
        )
    logger.info(
        "pseudo_label_threshold %g: %d of %d rows without labels are taken",
        threshold,
        len(chosen),
        len(confidences),
    )
    return chosen


def joined(labelled: Dataset, unlabelled: Dataset) -> Dataset:
    """Return tokenised rows with labels and, after them, those without, told apart by the column `LABELLED`."""
    parts = [
        labelled.add_column(LABELLED, [True] * len(labelled)),
        unlabelled.add_column(LABELLED, [False] * len(unlabelled)),
    ]
    return concatenate_datasets(parts)


def labelled_only(rows: Dataset) -> Dataset:
    """Return the tokenised rows that have labels, without the columns that only training with a teacher reads."""
    if LABELLED in rows.column_names:
        rows = rows.select(np.flatnonzero(rows[LABELLED]))
    columns = [name for name in (LABELLED, TEACHER_ROW) if name in rows.column_names]
    return rows.remove_columns(columns)
