"""What a predictor is given, checked: an iterable of texts, a table with a text column, or rows of words."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trainer_ext.characters import broken_at
from trainer_ext.errors import UserError
from trainer_ext.tasks import Task


def prepare_texts(texts: Iterable[Any], task: Task, text_column: str = "text") -> Iterator[Any]:
    """Return the texts in the form that the task's other methods take, one at a time.

    Args:
        texts: texts (or what the task takes instead), or a data frame or `datasets.Dataset`, of which the text column
            is read.
        task: checks each item.
        text_column: of the training; `text` is tried next.

    Raises:
        UserError: for a single text, which would be answered character by character; for a mapping, which would be
            answered by its keys; for a table without the column; and, while iterating, for an item that is not a text,
            with its number.
    """
    if isinstance(texts, (str, bytes)):
        raise UserError(
            f"expected a list of texts, got one text: {texts[:40]!r}; put it into a list"
        )
    if isinstance(texts, Mapping):
        keys = ", ".join(map(repr, texts))[:80]
        raise UserError(f"expected a list of texts, got a mapping with the keys {keys}")
    columns = table_columns(texts)
    if columns is not None:
        texts = read_column(texts, find_column(columns, text_column))
    return prepare_items(texts, task)


def prepare_items(texts: Iterable[Any], task: Task) -> Iterator[Any]:
    """Check and prepare one item after another."""
    for number, item in enumerate(texts, 1):
        yield prepare_item(number, item, task)


def table_columns(texts: Any) -> list[str] | None:
    """Return the column names of a data frame, a `datasets.Dataset` or a pyarrow table; None for anything else."""
    for attribute in ("column_names", "columns"):
        names = getattr(texts, attribute, None)
        if names is not None:
            return [str(name) for name in names]
    return None


def read_column(table: Any, column: str) -> Iterable[Any]:
    """Return one column of a table as Python values."""
    values: Iterable[Any] = table[column]
    to_pylist = getattr(values, "to_pylist", None)
    if to_pylist:
        # pyarrow's items are scalars of its own, which are not str.
        values = to_pylist()
    return values


def find_column(columns: list[str], text_column: str) -> str:
    """Return the column with the texts: the one of the training, else `text`; `UserError` if neither is there."""
    for name in (text_column, "text"):
        if name in columns:
            return name
    found = ", ".join(map(repr, columns))[:200]
    raise UserError(
        f"expected a column {text_column!r} with the texts, got {found}: give the column itself, "
        "e.g. predict(frame['review'])"
    )


def prepare_item(number: int, item: Any, task: Task) -> Any:
    """Check and prepare one item, counted from 1."""
    try:
        prepared = task.prepare(item)
    except UserError as error:
        raise UserError(f"text {number}: {error}") from None
    position = broken_at(getattr(prepared, "text", prepared))
    if position is not None:
        raise UserError(
            f"text {number}: holds a broken character (half of a surrogate pair) at {position}"
        )
    return prepared
