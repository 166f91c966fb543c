"""What predict.py does: rows in, answers out, in order; memory does not grow with the file."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, tee
from typing import Any

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.readers import (
    DEFAULTS,
    Row,
    check_characters,
    delimiter_hint,
    file_format,
    join_names,
    read_rows,
    require_columns,
    text_of,
)
from trainer_ext.data.io.rejects import Reject, rejecting
from trainer_ext.errors import UserError
from trainer_ext.inference.predictor import Answer, Predictor

# What --no_text and --labels_only leave out of an answer.
TEXTS = ("text", "tokens")
CONFIDENCES = ("score", "probabilities", "intent_score", "ood_score")
INPUT_COLUMNS = "; --text_column, --id_column and --keep_columns name columns of the input"

logger = logging.getLogger(__name__)


def rows_of(
    predictor: Predictor,
    texts: Sequence[str] | None,
    path: str | None,
    labelled: bool = False,
    options: FileOptions = DEFAULTS,
    reject: Reject | None = None,
) -> Iterator[Row]:
    """Return the rows from `--text` or `--input`.

    A blank line of txt, or of csv with one column, is a row, so that answer 7 belongs to line 7. In a txt file a known
    label after the last tab is not part of the text.

    Args:
        predictor: decides how slot files and txt files are read.
        texts: from `--text`; None: read `path`.
        path: from `--input`; `-` is standard input.
        labelled: whether the input is known to have labels, so that it may be in a format that only labelled rows have.
        options: how the file is written.
        reject: takes what is wrong with a row, which is then left out; None: it is raised.

    Raises:
        UserError: for a file of tokens and tags if the model does not tag words.
    """
    if texts is not None:
        return rows_of_command_line(texts)
    if path is None:
        raise ValueError("neither texts nor a path")
    # Not at the top: a single text should not wait for readers that it does not need.
    from trainer_ext.data.io.slot_files import read_slot_file
    from trainer_ext.data.labelled import read_labelled

    task = predictor.task
    if task.reads_words and labelled:
        return read_labelled(path, task.name, options)
    has_intents = slot_file_intents(path, options)
    if has_intents is None:
        # Words are tagged, not labelled: nothing in a txt file of theirs could be taken for a label.
        is_label = None if task.reads_words else task.is_label
        return read_rows(path, is_label, options, keep_blank=True, reject=reject)
    if not task.reads_words:
        raise UserError(
            f"{path} holds tokens and tags, but the model takes texts "
            "(--column_names text reads a line as one)"
        )
    return read_slot_file(path, options, intents_inside=has_intents)


def rows_of_command_line(texts: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of `--text`."""
    for number, text in enumerate(texts, 1):
        yield Row({"text": text}, f"--text {number}")


def slot_file_intents(path: str, options: FileOptions) -> bool | None:
    """Tell whether a file of tokens and tags has intents; None if it is another kind of file."""
    if path == "-" or options.column_names or file_format(path, options) != "txt":
        return None
    from trainer_ext.data.io.slot_files import detect_intents

    return detect_intents(path, options)


@dataclass(frozen=True)
class Form:
    """What is written of an answer.

    Attributes:
        text: whether the text is in it.
        keep: columns of the input that are carried over.
        labels_only: leave out scores and probabilities.
    """

    text: bool = True
    keep: tuple[str, ...] = ()
    labels_only: bool = False

    def answer(self, answer: Answer) -> Answer:
        """Return the model's answer in this form."""
        if not self.text:
            answer = without(answer, TEXTS)
        if self.labels_only:
            answer = only_labels(answer)
        return answer


def only_labels(answer: Answer) -> Answer:
    """Return an answer without what tells how sure the model is."""
    labels = without(answer, CONFIDENCES)
    if "aspects" in labels:
        labels["aspects"] = {
            name: without(aspect, CONFIDENCES) for name, aspect in labels["aspects"].items()
        }
    return labels


def without(answer: Answer, keys: Sequence[str]) -> Answer:
    """Return a copy of an answer without these keys."""
    return {key: value for key, value in answer.items() if key not in keys}


@dataclass(frozen=True)
class InputColumns:
    """Which columns of the input are read.

    Attributes:
        text: what the model answers for; None: the row's `tokens`.
        kept: columns that the answers keep, the id first.
    """

    text: str | None
    kept: tuple[str, ...]

    def model_input(self, row: Row) -> str | list[str]:
        """Return the row's text or tokens."""
        if self.text is None:
            from trainer_ext.data.joint import tokens_of

            return tokens_of(row)
        return text_of(row, self.text, allow_empty=True)

    def check(self, row: Row) -> None:
        """Raise `UserError` if the row cannot be answered for, or what is kept of it not be written."""
        self.model_input(row)
        for name in self.kept:
            check_characters(row, name)


def answer_rows(
    predictor: Predictor,
    rows: Iterator[Row],
    text_column: str | None = None,
    id_column: str | None = None,
    form: Form = Form(),
    skip: int = 0,
    reject: Reject | None = None,
) -> Iterator[Answer]:
    """Yield one answer a row, in order, after the row's id (under its column's name, if it has one).

    Args:
        predictor: answers.
        rows: of the input.
        text_column: None: that of the training, else `text`, else the only one. A model that tags words takes `tokens`
            if the first row has them.
        id_column: None: that of the training, else `id`, if the rows have one.
        form: what is written.
        skip: rows at the start that an interrupted run has answered.
        reject: takes what is wrong with a row, which then has no answer; None: it is raised.

    Raises:
        UserError: for a named column that is not there, or a row without text, with file and row.
    """
    first = next(rows, None)
    columns = None
    while first is not None and columns is None:
        # Only the next row can tell whether this one lacks a column, or all do.
        with rejecting(reject):
            columns = find_columns(first, predictor, text_column, id_column, form.keep)
        if columns is None:
            first = next(rows, None)
    if first is None or columns is None:
        return
    # Each row is needed twice: its text goes into a window of batches, its id beside the answer that comes out.
    left: Iterator[Row] = islice(chain([first], rows), skip, None)
    if reject is not None:
        left = answerable(left, columns, reject)
    for_model, for_answer = tee(left)
    texts = map(columns.model_input, for_model)
    for row, answer in zip(for_answer, predictor.predict_iter(texts), strict=True):
        answer = form.answer(answer)
        if form.text and columns.text is not None:  # of tokens the answer has the text already
            answer = {"text": row.values[columns.text], **answer}
        yield {**kept_values(row, columns.kept, answer), **answer}


def answerable(rows: Iterator[Row], columns: InputColumns, reject: Reject) -> Iterator[Row]:
    """Yield the rows that can be answered for; the others are rejected."""
    for row in rows:
        is_good = False
        with rejecting(reject):
            columns.check(row)
            is_good = True
        if is_good:
            yield row


def find_columns(
    first: Row,
    predictor: Predictor,
    text_column: str | None,
    id_column: str | None,
    keep: Sequence[str],
) -> InputColumns:
    """Decide from the first row which columns are read; `UserError` if a named one is not there."""
    named = [name for name in (text_column, id_column, *keep) if name]
    require_columns(first, named, first.where, hint=INPUT_COLUMNS)
    pipeline = predictor.pipeline
    takes_tokens = predictor.task.reads_words and "tokens" in first.values
    if text_column is None and not takes_tokens:
        text_column = find_text_column(first, pipeline.text_column)
    if id_column is None:
        id_column = find_id_column(first, pipeline.id_column)
    kept = list(keep)
    if id_column is not None:
        kept.insert(0, id_column)
    # --keep_columns may name the id, or a column twice.
    return InputColumns(text_column, tuple(dict.fromkeys(kept)))


def find_id_column(row: Row, trained_with: str | None) -> str | None:
    """Return the id column of the training, else `id`; None if the row has neither."""
    for name in (trained_with, "id"):
        if name is not None and name in row.values:
            return name
    return None


def find_text_column(row: Row, trained_on: str) -> str:
    """Return the column the model was trained on, else `text`, else the only one.

    Raises:
        UserError: if it is not clear which one holds the texts.
    """
    for name in (trained_on, "text"):
        if name in row.values:
            return name
    if len(row.values) != 1:
        raise UserError(
            f"{row.where}: which column is the text? There is no {trained_on!r}; name one of "
            f"{join_names(row.values)} with --text_column"
        )
    (name,) = row.values
    hint = delimiter_hint([name])
    if hint:
        raise UserError(
            f"{row.where}: the file seems to have one column only{hint} "
            "(--text_column takes it as it is)"
        )
    logger.info("there is no column %r: the texts are those of the only one, %r", trained_on, name)
    return name


def kept_values(row: Row, columns: Sequence[str], answer: Answer) -> dict[str, Any]:
    """Return the columns of the input that the answer keeps.

    Raises:
        UserError: for one that has the name of a part of the answer, which would take its place; or holds a character
            that cannot be written.
    """
    kept: dict[str, Any] = {}
    for name in columns:
        check_characters(row, name)
        kept[name] = row.values.get(name)
        is_the_text = name == "text" and kept[name] == answer.get("text")
        if name in answer and not is_the_text:
            raise UserError(
                f"{row.where}: column {name!r} is called as a part of the answer, which would take "
                "its place; rename it, or leave it out (--id_column, --keep_columns)"
            )
    return kept
