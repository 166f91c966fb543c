"""Where a row made from another one says so: columns `source_id` and `operation`.

A row with both is new; every other row is an original. `source_id` is the original's id. Where rows have none, whoever
makes rows of them gives each its number in the file (from 1) as its `id`, so that the name holds when rows are left out
or moved later. New rows belong into the training part alone, and into the fold of their source.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from trainer_ext.data.labelled import is_missing
from trainer_ext.data.readers import Row, require_columns
from trainer_ext.errors import UserError

SOURCE_ID = "source_id"
OPERATION = "operation"
DEFAULT_ID = "id"


def is_new(values: dict[str, Any]) -> bool:
    """Whether the row was made from another one."""
    return not any(is_missing(values.get(column)) for column in (SOURCE_ID, OPERATION))


def source_of(row: Row, id_column: str) -> Any:
    """What a row and all rows made from it have in common: the key by which folds keep them together.

    Args:
        row: an original or a new row, as `named_rows` gives it.
        id_column: the column that names a row.
    """
    return row.values[SOURCE_ID if is_new(row.values) else id_column]


def named_rows(rows: Iterable[Row], id_column: str | None) -> Iterator[Row]:
    """Rows that each have an id of their own, in the column asked for, else in `id`.

    Where the first row has no `id`, each row gets its number as one.

    Raises:
        UserError: with file and row, for a column that is not there, an id that is missing or there twice, and for rows
            made from others where no id says from which.
    """
    column, taken, numbered = id_column or DEFAULT_ID, set(), False
    for number, row in enumerate(rows, 1):
        if number == 1:
            require_columns(row, [id_column] if id_column else [], row.where)
            numbered = column not in row.values
        if numbered:
            yield with_number(row, number)
            continue
        name = row.values.get(column)
        if is_missing(name):
            raise UserError(f"{row.where}: the id in column {column!r} is missing")
        if str(name).strip() in taken:
            raise UserError(
                f"{row.where}: the id {name!r} in column {column!r} is that of an earlier row too; rows made from "
                "others name their source by its id, so each needs one of its own (--id_column names another column)"
            )
        taken.add(str(name).strip())
        yield row


def with_number(row: Row, number: int) -> Row:
    """A row of a file without ids, with its number as its id.

    Raises:
        UserError: for a row that has an id though the first has none, and for one made from another.
    """
    if DEFAULT_ID in row.values:
        raise UserError(f"{row.where}: has an id in column {DEFAULT_ID!r}, but the first row has none")
    if is_new(row.values):
        raise UserError(
            f"{row.where}: made from row {row.values[SOURCE_ID]!r}, but no column {DEFAULT_ID!r} says which row that "
            "is; make the file again from the originals, which gives each row an id"
        )
    return Row({**row.values, DEFAULT_ID: number}, row.where)


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


def new_row(values: dict[str, Any], source: Any, operation: str, id_column: str, new_id: str) -> dict[str, Any]:
    """`values` as a row of its own, with an id of its own."""
    return {**values, id_column: new_id, SOURCE_ID: source, OPERATION: operation}
