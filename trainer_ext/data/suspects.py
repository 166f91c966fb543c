"""Rows whose label a person has confirmed to be wrong: named in suspects.csv, left out with `--drop_suspects`.

A row is recognised by a hash of its text and labels as they are written, so that it is found again wherever it stands:
in a file that was sorted or cut since, in a fold, or in a part of `--validation_split`.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.io.readers import Row, read_rows, require_columns
from trainer_ext.data.provenance import DEFAULT_ID, made_from
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS

logger = logging.getLogger(__name__)

KEY = re.compile("row-[0-9a-f]{16}")
# What a run writes into suspects.csv that is read again; `verdict` is left to a person.
KEY_COLUMN, SPLIT_COLUMN, ID_COLUMN, VERDICT_COLUMN = "key", "split", "row_id", "verdict"
SPLITS = ("train", "validation")
VERDICTS = ("wrong", "right", "")
EXPECTED = "expected wrong (leave the row out), right, or nothing"


def row_key(row: Row, columns: Sequence[str]) -> str:
    """Return what a row is called in suspects.csv.

    Args:
        row: as it was read.
        columns: those of its text and labels, `task.required_columns`.
    """
    values = [row.values.get(column) for column in columns]
    # As JSON, in which no two rows of several columns are written alike.
    line = json.dumps(values, default=plain)
    digest = hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()
    # Letters before it: a spreadsheet would take sixteen digits, or 12e45, for a number, and write it otherwise.
    return f"row-{digest[:16]}"


def plain(value: Any) -> Any:
    """Return arrays of parquet as lists, and what else JSON does not have as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def source_split(data: DataArguments, in_folds: bool) -> str:
    """Return whether validated rows came from the training rows or from validation rows of their own."""
    return "train" if in_folds or data.validation_split else "validation"


@dataclass(frozen=True)
class Confirmed:
    """What a person confirmed to be wrong.

    Attributes:
        path: of the file, for messages.
        keys: of the rows of a split, each with its place in the file.
        ids: of these rows, by which rows that were made from them are known.
    """

    path: str
    keys: dict[str, str]
    ids: frozenset[str]


def read_confirmed(path: str, split: str) -> Confirmed:
    """Return the rows of a split whose verdict is `wrong`.

    Raises:
        UserError: for a file that is no suspects.csv, a verdict or key that is none, and if no verdict at all is wrong.
    """
    keys: dict[str, str] = {}
    ids = set()
    verdicts = 0
    for row in read_rows(path):
        require_columns(row, [KEY_COLUMN, SPLIT_COLUMN, VERDICT_COLUMN], path, hint="")
        key, own_split, verdict = checked(row)
        if verdict != "wrong":
            continue
        verdicts += 1
        if own_split == split:
            keys[key] = row.where
            ids.add(str(row.values.get(ID_COLUMN) or ""))
    if not verdicts:
        raise UserError(
            f"drop_suspects: no row of {path} has the verdict wrong, so that none would be left out"
        )
    return Confirmed(path, keys, frozenset(ids - {""}))


def checked(row: Row) -> tuple[str, str, str]:
    """Return key, split and verdict of a line.

    Raises:
        UserError: for a value that none of them takes.
    """
    key, split, verdict = (
        str(row.values[column] or "").strip()
        for column in (KEY_COLUMN, SPLIT_COLUMN, VERDICT_COLUMN)
    )
    # Spreadsheets capitalise what begins a cell.
    verdict = verdict.lower()
    if verdict not in VERDICTS:
        raise UserError(f"{row.where}: the verdict is {verdict!r}; {EXPECTED}")
    if not KEY.fullmatch(key):
        raise UserError(f"{row.where}: the key is {key!r}; expected row- and 16 hexadecimal digits")
    if split not in SPLITS:
        raise UserError(f"{row.where}: the split is {split!r}; expected {' or '.join(SPLITS)}")
    return key, split, verdict


def without_confirmed(rows: Iterator[Row], data: DataArguments, split: str) -> Iterator[Row]:
    """Yield the rows but those that a person confirmed to be wrong, and those made from one of these.

    Raises:
        UserError: as `read_confirmed` does, and after the last row for one that was confirmed and is not there.
    """
    assert data.drop_suspects is not None
    confirmed = read_confirmed(data.drop_suspects, split)
    columns = TASKS[data.task].required_columns(data.text_column, data.label_columns)
    found: set[str] = set()
    dropped = 0
    for row in rows:
        key = row_key(row, columns)
        # A new row has the label of its source.
        if key in confirmed.keys or made_from(row) in confirmed.ids:
            found.add(key)
            dropped += 1
            continue
        yield row
    missing = [where for key, where in confirmed.keys.items() if key not in found]
    if missing:
        raise UserError(
            f"{missing[0]}: no {split} row has this text and label; was {confirmed.path} made from other rows?"
        )
    if dropped:
        logger.info("drop_suspects: left out %d %s rows", dropped, split)


def row_id(row: Row, id_column: str | None) -> str:
    """Return the id of a row; empty if it has none."""
    value = row.values.get(id_column or DEFAULT_ID)
    return "" if value is None else str(value)
