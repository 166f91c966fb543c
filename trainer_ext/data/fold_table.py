"""The fold file: which row is in which fold, written once for a data set, reused, and refused when the data changed.

`folds.csv` has a row per row of the training file, in its order: the id (or the number of the row, from 1), `fold`, and
with repeats `fold_2`, `fold_3`, ... `folds.json` beside it says from which data and how the folds were made.
"""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.arguments.groups import DataArguments, FoldArguments
from trainer_ext.data.dataset import load_rows
from trainer_ext.data.duplicates import normalised
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.data.io.readers import Row, require_columns
from trainer_ext.data.labelled import is_missing, raw_label, texts_and_labels
from trainer_ext.data.provenance import check_sources, made_from, row_ids, telling_id_column
from trainer_ext.data.splits import deal, dealer, strata_of, units_of
from trainer_ext.errors import UserError
from trainer_ext.files import write_json
from trainer_ext.tasks import Task

ROW = "row"


@dataclass(frozen=True)
class FoldTable:
    """The division of a data set.

    Attributes:
        id_column: the column of the ids; None where rows are numbered.
        ids: (N) of each row.
        folds: (repeats, N).
        original: (N,) false for augmented rows, which are trained on with their source and never validated on.
        about: what folds.json holds: `data_sha256`, `folds`, `fold_strategy`, ...
    """

    id_column: str | None
    ids: list[str]
    folds: np.ndarray
    original: np.ndarray
    about: dict[str, Any]

    @property
    def models(self) -> int:
        """Number of models: folds times repeats."""
        return self.about["folds"] * self.about["fold_repeats"]

    def held_out(self, fold: int) -> np.ndarray:
        """(N,) whether each row is in model `fold`'s own fold, augmented rows included."""
        repeat, part = divmod(fold, self.about["folds"])
        return self.folds[repeat] == part

    def validation_rows(self, fold: int) -> np.ndarray:
        """Indices of the rows that model `fold` is validated on, in order."""
        return np.flatnonzero(self.held_out(fold) & self.original)

    def training_rows(self, fold: int) -> np.ndarray:
        """Indices of the rows that model `fold` is trained on, in order."""
        return np.flatnonzero(~self.held_out(fold))


def fold_strategy(args: FoldArguments, task: type[Task] | Task) -> str:
    """Return the strategy asked for, else the one that fits the task."""
    return args.fold_strategy or task.default_fold_strategy


def claim_folds(
    folder: Path,
    args: FoldArguments,
    data: DataArguments,
    rows: Sequence[Row],
    task: Task,
    seed: int,
) -> FoldTable:
    """The table in `folder`, made and written when there is none yet.

    Raises:
        UserError: when the rows, or the way to divide them, are not those the file was made for.
    """
    id_column = telling_id_column(rows, data.id_column)
    ids = row_ids(rows, id_column)
    original = np.array([not made_from(row) for row in rows])
    check_sources(rows, ids, original, id_column)
    about = {
        "data_sha256": rows_hash(rows, ids, data, task, args.group_column),
        "rows": len(rows),
        "folds": args.folds,
        "fold_strategy": fold_strategy(args, task),
        "group_column": args.group_column,
        "fold_repeats": args.fold_repeats,
        "seed": seed,
    }
    if (folder / "folds.csv").is_file() and (folder / "folds.json").is_file():
        check_same(folder, about)
        return FoldTable(
            id_column, ids, read_folds(folder / "folds.csv", len(rows), args), original, about
        )
    table = FoldTable(
        id_column, ids, divide(about, rows, ids, original, data, task), original, about
    )
    write_json(folder / "folds.json", about)
    with open_csv(folder / "folds.csv") as writer:
        writer.writerow([id_column or ROW, *fold_columns(args.fold_repeats)])
        writer.writerows(zip(ids, *table.folds.tolist(), strict=True))
    return table


def validation_rows_of(folder: Path, config: dict[str, Any], task: Task) -> list[Row]:
    """The rows that the fold with this resolved configuration was validated on, from the fold file in `folder`.

    Raises:
        UserError: when the training file is not the one that the folds were made for.
    """
    if not (folder / "folds.csv").is_file():
        return []
    groups = []
    for group in (DataArguments, FoldArguments):
        names = {spec.name for spec in fields(group)}
        groups.append(group(**{key: value for key, value in config.items() if key in names}))
    data, args = groups
    rows = load_rows(data, "train")
    table = claim_folds(folder, args, data, rows, task, config["seed"])
    return [rows[k] for k in table.validation_rows(args.fold)]


def divide(
    about: dict[str, Any],
    rows: Sequence[Row],
    ids: Sequence[str],
    original: np.ndarray,
    data: DataArguments,
    task: Task,
) -> np.ndarray:
    """(repeats, N) folds. Rows of the same text (`normalised`) stay together, augmented ones with their source."""
    texts, labels = texts_and_labels(rows, data.text_column, task)
    keys = [[("text", normalised(task.as_text(text)))] for text in texts]
    for key, row, name in zip(keys, rows, ids, strict=True):
        key.append(("id", made_from(row) or name))
        if about["fold_strategy"] == "group":
            key.append(("group", group_of(row, about["group_column"])))
    units = units_of(keys)
    strata = strata_of(task, labels, about["fold_strategy"])
    own = np.flatnonzero(original)
    first = np.zeros(units.max() + 1, dtype=int)
    first[units[own[::-1]]] = own[::-1]  # a unit counts as its first row
    return np.stack(
        [
            deal(
                units,
                original,
                about["folds"],
                dealer(about["fold_strategy"], about["folds"], seed, strata[first]),
            )
            for seed in range(about["seed"], about["seed"] + about["fold_repeats"])
        ]
    )


def group_of(row: Row, column: str) -> str:
    """The row's group."""
    require_columns(row, [column], row.where)
    value = row.values[column]
    if is_missing(value):
        raise UserError(f"{row.where}: the group in column {column!r} is missing")
    return str(value)


def rows_hash(
    rows: Sequence[Row],
    ids: Sequence[str],
    data: DataArguments,
    task: Task,
    group_column: str | None,
) -> str:
    """sha256 over what folds depend on: ids, texts, labels as they stand, groups and sources, in order."""
    columns = task.fixed_columns or (data.text_column,)
    labels = () if task.fixed_columns else data.label_columns
    digest = hashlib.sha256()
    for name, row in zip(ids, rows, strict=True):
        parts = [name, *(row.values.get(column) for column in columns)]
        parts += [raw_label(row, column, task) for column in labels]
        parts += [row.values.get(group_column) if group_column else None, made_from(row)]
        digest.update(json.dumps(parts, default=str).encode() + b"\n")
    return digest.hexdigest()


def check_same(folder: Path, about: dict[str, Any]) -> None:
    """Raise `UserError` naming the first thing that differs from what folds.json says."""
    try:
        before = json.loads((folder / "folds.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'folds.json'} is not valid JSON: {error}") from error
    differs = next((key for key in reversed(about) if before.get(key) != about[key]), None)
    what = {"data_sha256": "other data", "rows": f"{before.get('rows')} rows"}.get(
        differs, f"{differs} {before.get(differs)}"
    )
    if differs:
        now = (
            "the rows changed" if differs == "data_sha256" else f"now {differs} is {about[differs]}"
        )
        raise UserError(
            f"{folder / 'folds.csv'} was made for {what}, and {now}: folds of different divisions must not be mixed. "
            "Give another output_dir, or --overwrite_output_dir true to begin anew"
        )


def read_folds(path: Path, rows: int, args: FoldArguments) -> np.ndarray:
    """(repeats, N) of a folds.csv, checked."""
    with open(path, encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    try:
        folds = np.array(
            [[int(record[name]) for record in records] for name in fold_columns(args.fold_repeats)]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if folds.shape[1] != rows or folds.min() < 0 or folds.max() >= args.folds:
        raise UserError(f"{path} is damaged: expected {rows} rows of folds 0 to {args.folds - 1}")
    return folds


def fold_columns(repeats: int) -> list[str]:
    """`fold`, `fold_2`, ..., one for each repeat."""
    return ["fold", *(f"fold_{number}" for number in range(2, repeats + 1))]
