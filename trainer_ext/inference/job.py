"""What predict.py does: rows in, answers out, in order; memory does not grow with the file."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, tee
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
from trainer_ext.data.io.slot_files import detect_intents, read_slot_file
from trainer_ext.data.joint import tokens_of
from trainer_ext.data.labelled import read_labelled
from trainer_ext.errors import UserError
from trainer_ext.inference.predictor import Predictor


def rows_of(
    predictor: Predictor,
    texts: Sequence[str] | None,
    path: str | None,
    labelled: bool = False,
    options: FileOptions = DEFAULTS,
) -> Iterator[Row]:
    """Rows from `--text` or `--input`. In a txt file a known label behind the last tab is not part of the text.

    A blank line of txt, or of csv with one column, is a row: answers stay beside their lines. A file of tokens and tags
    is read as such by a model that tags words, whether it has intents or not; any other model refuses it.

    `labelled`: the input is known to have labels, so it may be in a format that only labelled rows have.
    """
    if texts is not None:
        return (Row({"text": text}, f"--text {number}") for number, text in enumerate(texts, 1))
    words = predictor.task.reads_words
    if words and labelled:
        return read_labelled(path, predictor.task.name, options)
    if path != "-" and file_format(path, options) == "txt" and not options.column_names:
        intents = detect_intents(path, options)
        if intents is not None and not words:
            raise UserError(
                f"{path} holds tokens and tags, but the model takes texts (--column_names text reads a line as one)"
            )
        if intents is not None:
            return read_slot_file(path, options, intents_inside=intents)
    return read_rows(path, None if words else predictor.task.is_label, options, keep_blank=True)


@dataclass(frozen=True)
class Form:
    """What an answer is written with.

    Attributes:
        text: whether the text stands in it.
        keep: columns of the input that are carried over.
        labels_only: leave out scores and probabilities.
    """

    text: bool = True
    keep: tuple[str, ...] = ()
    labels_only: bool = False

    def answer(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The model's answer, without its text where that is left out."""
        if not self.text:
            answer = {key: value for key, value in answer.items() if key not in ("text", "tokens")}
        return only_labels(answer) if self.labels_only else answer


def only_labels(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what says how sure the model is."""
    labels = {
        key: value
        for key, value in answer.items()
        if key not in ("score", "probabilities", "intent_score")
    }
    if "aspects" in labels:
        labels["aspects"] = {name: only_labels(inner) for name, inner in labels["aspects"].items()}
    return labels


def answer_rows(
    predictor: Predictor,
    rows: Iterator[Row],
    text_column: str | None = None,
    id_column: str | None = None,
    form: Form = Form(),
) -> Iterator[dict[str, Any]]:
    """Answers with the id (under its column's name, when the rows have one) and `text`, one per row, in order.

    A model that tags words takes `tokens` where the first row has them, unless a text column is named.

    Raises:
        UserError: for a named column that is not there, or a row without text, with file and row.
    """
    first = next(rows, None)
    if first is None:
        return
    require_columns(
        first, [name for name in (text_column, id_column, *form.keep) if name], first.where
    )
    by_tokens = predictor.task.reads_words and "tokens" in first.values and not text_column
    if not by_tokens:
        text_column = text_column or find_text_column(first, predictor.pipeline.text_column)
    id_column = id_column or next(
        (name for name in (predictor.pipeline.id_column, "id") if name in first.values), None
    )
    kept = dict.fromkeys([*([id_column] if id_column else []), *form.keep])
    for_model, for_answer = tee(chain([first], rows))
    texts = (
        tokens_of(row) if by_tokens else text_of(row, text_column, allow_empty=True)
        for row in for_model
    )
    for row, answer in zip(for_answer, predictor.predict_iter(texts), strict=True):
        for name in kept:
            check_characters(row, name)
        text = (
            {"text": row.values[text_column]} if form.text and not by_tokens else {}
        )  # tokens: the answer has them
        yield joined({name: row.values.get(name) for name in kept}, text | form.answer(answer), row)


def joined(kept: dict[str, Any], answer: dict[str, Any], row: Row) -> dict[str, Any]:
    """Columns of the input before the answer.

    Raises:
        UserError: for one that has the name of a part of the answer, which would take its place.
    """
    for name in kept:
        if name in answer and not (name == "text" and kept[name] == answer[name]):
            raise UserError(
                f"{row.where}: column {name!r} is called as a part of the answer, which would take its place; rename "
                "it, or leave it out (--id_column, --keep_columns)"
            )
    return kept | answer


def find_text_column(row: Row, trained_on: str) -> str:
    """The column the model was trained on, else `text`, else the only one there is."""
    for name in (trained_on, "text"):
        if name in row.values:
            return name
    if len(row.values) == 1:
        (name,) = row.values
        if hint := delimiter_hint([name]):
            raise UserError(
                f"{row.where}: the file seems to have one column only{hint} (--text_column takes it as it is)"
            )
        print(
            f"note: there is no column {trained_on!r}: the texts are those of the only one, {name!r}",
            file=sys.stderr,
        )
        return name
    raise UserError(
        f"{row.where}: which column is the text? There is no {trained_on!r}; name one of "
        f"{join_names(row.values)} with --text_column"
    )
