"""Where a row made from another one says so: columns `source_id` and `operation`.

A row with both is new; every other row is an original. `source_id` is the original's id (its `id_column`), or its
number in the file (from 1) where rows have no id. New rows belong into the training part alone, and into the fold of
their source.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from trainer_ext.data.labelled import is_missing
from trainer_ext.data.readers import Row
from trainer_ext.errors import UserError

SOURCE_ID = "source_id"
OPERATION = "operation"
DEFAULT_ID = "id"


def is_new(values: dict[str, Any]) -> bool:
    """Whether the row was made from another one."""
    return not any(is_missing(values.get(column)) for column in (SOURCE_ID, OPERATION))


def source_of(row: Row, number: int, id_column: str | None) -> Any:
    """What a row and all rows made from it have in common: the key by which folds keep them together.

    Args:
        row: an original or a new row.
        number: its place in the file, from 1.
        id_column: the column that names a row; None where rows are named by their place.

    Raises:
        UserError: for an original without an id, with file and row.
    """
    if is_new(row.values):
        return row.values[SOURCE_ID]
    if id_column is None:
        return number
    value = row.values.get(id_column)
    if value is None or str(value).strip() == "":
        raise UserError(f"{row.where}: the id in column {id_column!r} is missing")
    return value


def find_id_column(first: Row, id_column: str | None) -> str | None:
    """The column that names a row: the one asked for, else `id` when there is one, else None."""
    if id_column and id_column not in first.values:
        names = ", ".join(map(str, first.values))
        raise UserError(f"{first.where}: there is no column {id_column!r}; the columns are {names}")
    return id_column or (DEFAULT_ID if DEFAULT_ID in first.values else None)


def originals_only(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows as they are.

    Raises:
        UserError: for a row that was made from another one: only training rows may be.
    """
    for row in rows:
        if is_new(row.values):
            raise UserError(
                f"{row.where}: made from row {row.values[SOURCE_ID]!r} by {row.values[OPERATION]!r}; "
                "only training rows may be augmented, never those a model is measured on"
            )
        yield row


def new_row(values: dict[str, Any], source: Any, operation: str, id_column: str | None, new_id: str) -> dict[str, Any]:
    """`values` as a row of its own, with an id of its own where rows have one."""
    named = {id_column: new_id} if id_column else {}
    return {**values, **named, SOURCE_ID: source, OPERATION: operation}
