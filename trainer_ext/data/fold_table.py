"""The fold file: which row is in which fold, written once for a data set, reused, and refused when the data changed.

`folds.csv` has a row per row of the training file, in its order: the id (or the number of the row, from 1), `fold`, and
with repeats `fold_2`, `fold_3`, ... `folds.json` beside it records from which data and how the folds were made.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.folds import FoldArguments
from trainer_ext.data.dataset import group_from, load_rows
from trainer_ext.data.duplicates import normalised
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.data.io.readers import Row, require_columns
from trainer_ext.data.labelled import is_missing, texts_and_labels
from trainer_ext.data.provenance import check_sources, made_from, row_ids, telling_id_column
from trainer_ext.data.row_hash import raw_rows_sha256
from trainer_ext.data.splits import deal, dealer, strata_of, units_of
from trainer_ext.errors import UserError
from trainer_ext.files import write_json
from trainer_ext.tasks import Task

ROW = "row"


@dataclass(frozen=True)
class Division:
    """From which rows, and how, folds are made; the content of folds.json.

    Attributes:
        data_sha256: hash of the rows, as `raw_rows_sha256` has it.
        rows: their number.
        folds: in each repeat.
        fold_strategy: kfold, stratified, multilabel_stratified or group.
        group_column: whose values stay together; None without.
        fold_repeats: how often all rows are divided.
        seed: of the first repeat; each next one has the next seed.
    """

    data_sha256: str
    rows: int
    folds: int
    fold_strategy: str
    group_column: str | None
    fold_repeats: int
    seed: int


@dataclass(frozen=True)
class FoldTable:
    """Which row is in which fold.

    Attributes:
        id_column: the column of the ids; None if rows are numbered.
        ids: (N) of each row.
        folds: (repeats, N).
        original: (N,) false for augmented rows, which are trained on with their source and never validated on.
        division: how the folds were made.
    """

    id_column: str | None
    ids: list[str]
    folds: np.ndarray
    original: np.ndarray
    division: Division

    @property
    def models(self) -> int:
        """Number of models: folds times repeats."""
        return self.division.folds * self.division.fold_repeats

    def held_out(self, fold: int) -> np.ndarray:
        """Return (N,) whether each row is in model `fold`'s own fold, augmented rows included."""
        repeat, part = divmod(fold, self.division.folds)
        return self.folds[repeat] == part

    def validation_rows(self, fold: int) -> np.ndarray:
        """Return the indices of the rows that model `fold` is validated on, in order."""
        return np.flatnonzero(self.held_out(fold) & self.original)

    def training_rows(self, fold: int) -> np.ndarray:
        """Return the indices of the rows that model `fold` is trained on, in order."""
        return np.flatnonzero(~self.held_out(fold))


def fold_strategy(args: FoldArguments, task: type[Task] | Task) -> str:
    """Return the strategy asked for, else the one that fits the task."""
    return args.fold_strategy or task.default_fold_strategy


def fold_table_in(
    folder: Path,
    args: FoldArguments,
    data: DataArguments,
    rows: Sequence[Row],
    task: Task,
    seed: int,
) -> FoldTable:
    """Return the table in `folder`; without one the rows are divided, and it is written.

    Raises:
        UserError: when the rows, or the way to divide them, are not those the file was made for.
    """
    id_column = telling_id_column(rows, data.id_column)
    ids = row_ids(rows, id_column)
    original = np.array([not made_from(row) for row in rows])
    check_sources(rows, ids, original, id_column)
    division = Division(
        data_sha256=raw_rows_sha256(rows, ids, data, task, args.group_column),
        rows=len(rows),
        folds=args.folds,
        fold_strategy=fold_strategy(args, task),
        group_column=args.group_column,
        fold_repeats=args.fold_repeats,
        seed=seed,
    )
    if (folder / "folds.csv").is_file() and (folder / "folds.json").is_file():
        check_same(folder, division)
        folds = read_folds(folder / "folds.csv", division)
        return FoldTable(id_column, ids, folds, original, division)
    folds = divide(division, rows, ids, original, data, task)
    table = FoldTable(id_column, ids, folds, original, division)
    write_table(folder, table)
    return table


def write_table(folder: Path, table: FoldTable) -> None:
    """Write folds.json and folds.csv."""
    # folds.csv comes last: only both together are a division that is used again.
    write_json(folder / "folds.json", asdict(table.division))
    with open_csv(folder / "folds.csv") as writer:
        writer.writerow([table.id_column or ROW, *fold_columns(table.division.fold_repeats)])
        writer.writerows(zip(table.ids, *table.folds.tolist(), strict=True))


def validation_rows_of(folder: Path, config: dict[str, Any], task: Task) -> list[Row]:
    """Return the rows that the fold with this resolved configuration was validated on; none without a fold file.

    Raises:
        UserError: when the training file is not the one that the folds were made for.
    """
    if not (folder / "folds.csv").is_file():
        return []
    data = group_from(DataArguments, config)
    args = group_from(FoldArguments, config)
    rows = load_rows(data, "train")
    table = fold_table_in(folder, args, data, rows, task, config["seed"])
    if args.fold is None:
        return []
    return [rows[k] for k in table.validation_rows(args.fold)]


def divide(
    division: Division,
    rows: Sequence[Row],
    ids: Sequence[str],
    original: np.ndarray,
    data: DataArguments,
    task: Task,
) -> np.ndarray:
    """Return (repeats, N) folds. Rows of the same text stay together, augmented ones with their source."""
    texts, labels = texts_and_labels(rows, data.text_column, task)
    keys = []
    for row, name, text in zip(rows, ids, texts, strict=True):
        # Named by kind: an id or a group may look like a text.
        key = [("text", normalised(task.as_text(text)))]
        key.append(("id", made_from(row) or name))
        if division.group_column is not None:
            key.append(("group", group_of(row, division.group_column)))
        keys.append(key)
    units = units_of(keys)
    strata = strata_of(task, labels, division.fold_strategy)[first_rows(units, original)]
    repeats = []
    for seed in range(division.seed, division.seed + division.fold_repeats):
        how = dealer(division.fold_strategy, division.folds, seed, strata)
        repeats.append(deal(units, original, division.folds, how))
    return np.stack(repeats)


def first_rows(units: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Return (U,) the first original row of each unit, whose labels stand for the unit."""
    own = np.flatnonzero(original)
    first = np.zeros(units.max() + 1, dtype=int)
    # Written backwards, so that the first row of a unit is the one that stays.
    first[units[own[::-1]]] = own[::-1]
    return first


def group_of(row: Row, column: str) -> str:
    """Return the row's group.

    Raises:
        UserError: with file and row, when there is no such column or it is empty.
    """
    require_columns(row, [column], row.where)
    value = row.values[column]
    if is_missing(value):
        raise UserError(f"{row.where}: the group in column {column!r} is missing")
    return str(value)


def check_same(folder: Path, division: Division) -> None:
    """Raise `UserError` naming what differs from folds.json."""
    try:
        before = json.loads((folder / "folds.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'folds.json'} is not valid JSON: {error}") from error
    now = asdict(division)
    # Backwards: a flag that was changed is named before the hash and the count of rows.
    differing = [key for key in reversed(now) if before.get(key) != now[key]]
    if not differing:
        return
    key = differing[0]
    made_for = f"{key} {before.get(key)}"
    changed = f"now {key} is {now[key]}"
    if key == "rows":
        made_for = f"{before.get('rows')} rows"
    elif key == "data_sha256":
        # A hash says nothing to people.
        made_for = "other data"
        changed = "the rows changed"
    raise UserError(
        f"{folder / 'folds.csv'} was made for {made_for}, and {changed}: folds of different divisions must not be "
        "mixed. Give another output_dir, or --overwrite_output_dir true to start over"
    )


def read_folds(path: Path, division: Division) -> np.ndarray:
    """Return (repeats, N) of a folds.csv.

    Raises:
        UserError: when it is not a whole one.
    """
    columns = fold_columns(division.fold_repeats)
    try:
        table = pd.read_csv(path, usecols=columns, index_col=False, dtype="int64")
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    folds = table[columns].to_numpy().T
    # The file is edited by hand at times, and may have been cut off.
    in_range = folds.size and folds.min() >= 0 and folds.max() < division.folds
    if folds.shape[1] != division.rows or not in_range:
        raise UserError(
            f"{path} is damaged: expected {division.rows} rows of folds 0 to {division.folds - 1}"
        )
    return folds


def fold_columns(repeats: int) -> list[str]:
    """Return `fold`, `fold_2`, ..., one for each repeat."""
    return ["fold", *(f"fold_{number}" for number in range(2, repeats + 1))]
