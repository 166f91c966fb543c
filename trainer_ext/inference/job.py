"""What predict.py does: rows in, answers out, in order; memory does not grow with the file."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain, tee
from pathlib import Path
from typing import Any

from trainer_ext.data.joint import tokens_of
from trainer_ext.data.labelled import read_labelled
from trainer_ext.data.readers import (
    DEFAULTS,
    Row,
    check_characters,
    delimiter_hint,
    file_format,
    names,
    read_rows,
    require_columns,
    text_of,
)
from trainer_ext.data.slu import is_slu, read_slu
from trainer_ext.errors import UserError
from trainer_ext.file_options import FileOptions
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
        intents = is_slu(path, options)
        if intents is not None and not words:
            raise UserError(
                f"{path} holds tokens and tags, but the model takes texts (--column_names text reads a line as one)"
            )
        if intents is not None:
            return read_slu(path, options, intents_inside=intents)
    return read_rows(path, None if words else predictor.task.is_label, options, keep_blank=True)


def answer_rows(
    predictor: Predictor, rows: Iterator[Row], text_column: str | None = None, id_column: str | None = None
) -> Iterator[dict[str, Any]]:
    """Answers with `id` (when the rows have one) and `text`, one per row, in order.

    A model that tags words takes `tokens` where the first row has them, unless a text column is named.

    Raises:
        UserError: for a named column that is not there, or a row without text, with file and row.
    """
    first = next(rows, None)
    if first is None:
        return
    require_columns(first, [name for name in (text_column, id_column) if name], first.where)
    by_tokens = predictor.task.reads_words and "tokens" in first.values and not text_column
    if not by_tokens:
        text_column = text_column or find_text_column(first, predictor.pipeline["text_column"])
    id_column = id_column or next(
        (name for name in (predictor.pipeline.get("id_column"), "id") if name in first.values), None
    )
    for_model, for_answer = tee(chain([first], rows))
    texts = (tokens_of(row) if by_tokens else text_of(row, text_column, allow_empty=True) for row in for_model)
    for row, answer in zip(for_answer, predictor.predict_iter(texts), strict=True):
        identity = {}
        if id_column:
            check_characters(row, id_column)
            identity["id"] = row.values.get(id_column)
        text = {} if by_tokens else {"text": row.values[text_column]}  # by tokens the answer brings its own
        yield {**identity, **text, **answer}


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
            f"note: there is no column {trained_on!r}: the texts are those of the only one, {name!r}", file=sys.stderr
        )
        return name
    raise UserError(
        f"{row.where}: which column is the text? There is no {trained_on!r}; name one of "
        f"{names(row.values)} with --text_column"
    )


def metrics_path(output: str | None, source: str) -> Path:
    """Where `--evaluate` saves the metrics: beside the output, else in the current folder under the input's name."""
    if output:
        return Path(output).with_suffix(".metrics.json")
    return Path((Path(source.removesuffix(".gz")).stem if source != "-" else "stdin") + ".metrics.json")
