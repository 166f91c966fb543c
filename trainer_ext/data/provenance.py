"""Rows made from others, and the columns that say so: `source_id` and `operation`.

A row with both is new; every other row is an original. `source_id` is the original's id. Where rows have none, whoever
makes rows of them gives each its number in the file (from 1) as its `id`, so that the name holds when rows are left out
or moved later. New rows belong into the training part alone, and into the fold of their source.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from trainer_ext.data.io.readers import Row, require_columns
from trainer_ext.data.labelled import is_missing
from trainer_ext.errors import UserError

SOURCE_ID = "source_id"
OPERATION = "operation"
DEFAULT_ID = "id"


def is_new(values: dict[str, Any]) -> bool:
    """Return whether the row was made from another one."""
    return not (is_missing(values.get(SOURCE_ID)) or is_missing(values.get(OPERATION)))


def source_of(row: Row, id_column: str) -> Any:
    """Return what a row and all rows made from it have in common: the key by which folds keep them together.

    Args:
        row: an original or a new row, as `named_rows` gives it.
        id_column: the column that names a row.
    """
    if is_new(row.values):
        return row.values[SOURCE_ID]
    return row.values[id_column]


def named_rows(rows: Iterable[Row], id_column: str | None) -> Iterator[Row]:
    """Yield rows that each have an id of their own, in the column asked for, else in `id`.

    If the first row has no `id`, each row gets its number as one.

    Raises:
        UserError: with file and row, for a column that is not there, an id that is missing or there twice, and for rows
            made from others where no id says from which.
    """
    column = id_column or DEFAULT_ID
    taken = set()
    numbered = False
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
    """Return a row of a file without ids, with its number as its id.

    Raises:
        UserError: for a row that has an id though the first has none, and for one made from another.
    """
    if DEFAULT_ID in row.values:
        raise UserError(
            f"{row.where}: has an id in column {DEFAULT_ID!r}, but the first row has none"
        )
    if is_new(row.values):
        raise UserError(
            f"{row.where}: made from row {row.values[SOURCE_ID]!r}, but no column {DEFAULT_ID!r} says which row that "
            "is; make the file again from the originals, which gives each row an id"
        )
    return Row({**row.values, DEFAULT_ID: number}, row.where)


def originals_only(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows as they are.

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


def new_row(
    values: dict[str, Any],
    source: Any,
    operation: str,
    id_column: str,
    new_id: str,
) -> dict[str, Any]:
    """Return `values` as a row of its own, with an id of its own."""
    return {**values, id_column: new_id, SOURCE_ID: source, OPERATION: operation}


def telling_id_column(rows: Sequence[Row], id_column: str | None) -> str | None:
    """Return the column that names a row: the one asked for, else `id` if it tells the rows apart, else None."""
    if id_column:
        return id_column
    # Of originals only: a copy may keep the id of its source.
    names = [row.values.get(DEFAULT_ID) for row in rows if not made_from(row)]
    different = {str(name) for name in names}
    if None in names or len(different) < len(names):
        return None
    return DEFAULT_ID


def row_ids(rows: Sequence[Row], id_column: str | None) -> list[str]:
    """Return the id of each row as text, or its number from 1.

    Raises:
        UserError: when two rows that are not augmented have the same id.
    """
    if not id_column:
        return [str(number) for number in range(1, len(rows) + 1)]
    ids = [str(row.values.get(id_column)) for row in rows]
    seen: dict[str, str] = {}
    for name, row in zip(ids, rows, strict=True):
        if made_from(row):
            continue
        if name in seen:
            raise UserError(
                f"{row.where}: id {name!r} is that of {seen[name]} too; folds need an id for each row"
            )
        seen[name] = row.where
    return ids


def made_from(row: Row) -> str | None:
    """Return the id of the row that an augmented row was made from; None for any other, also with `source_id` alone."""
    if not is_new(row.values):
        return None
    return str(row.values[SOURCE_ID]).strip()


def check_sources(
    rows: Sequence[Row],
    ids: Sequence[str],
    original: np.ndarray,
    id_column: str | None,
) -> None:
    """Refuse augmented rows whose source is not certain: a row in another fold than its source would leak.

    Raises:
        UserError: when no column names the rows, when a source is no row, or was named by another column.
    """
    known = {ids[k] for k in np.flatnonzero(original).tolist()}
    for row, name in zip(rows, ids, strict=True):
        source = made_from(row)
        if not source:
            continue
        if id_column is None:
            raise UserError(
                f"{row.where}: made from row {source!r}, but no column {DEFAULT_ID!r} tells the rows apart, so folds "
                "cannot keep it with its source: name the column with id_column, or make the file again from the "
                "originals, which gives each row an id"
            )
        if source not in known:
            raise UserError(f"{row.where}: source_id {source!r} is the id of no row")
        # A copy keeps every column but the one that names rows, so this one names something else.
        if name != source and name in known:
            raise UserError(
                f"{row.where}: made from row {source!r}, but in column {id_column!r} it has the id {name!r} of another "
                "row: its source was named by another column; give that one as id_column"
            )
