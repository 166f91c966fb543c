"""Validation rows out of the training file (`--validation_split`): a share of each class, drawn once for a seed.

Rows of the same text stay on one side, since a model would be judged on texts it has seen. Rows that were made from
others are never validated on; those of a validation row leave the training with it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.duplicates import normalised
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import label_space, texts_and_labels
from trainer_ext.data.provenance import check_sources, made_from, row_ids, telling_id_column
from trainer_ext.data.splits import strata_of, units_of
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, Task


class Parts(NamedTuple):
    """The rows of a training file, divided; both parts in the order of the file."""

    train: list[Row]
    validation: list[Row]


def split_rows(rows: Sequence[Row], data: DataArguments) -> Parts:
    """Divide the rows by `data.validation_split` and `data.split_seed`.

    Raises:
        UserError: when one part would be empty, and for rows without text or label, or without a known source.
    """
    kind = TASKS[data.task]
    task = kind(label_space(rows, data.label_columns, data.label_names, kind, data.label_separator))
    texts, labels = texts_and_labels(rows, data.text_column, task)
    original = np.array([not made_from(row) for row in rows])
    units = units_of(keys_of(rows, texts, original, data, task))
    own = np.flatnonzero(original)
    is_held = held_originals(task, labels, units, own, data)
    held = own[is_held]
    held_units = set(units[held])
    parts = Parts([], [])
    for row, unit, is_original in zip(rows, units, original, strict=True):
        if unit not in held_units:
            parts.train.append(row)
        elif is_original:
            parts.validation.append(row)
    return parts


def held_originals(
    task: Task,
    labels: Sequence,
    units: np.ndarray,
    own: np.ndarray,
    data: DataArguments,
) -> np.ndarray:
    """Return (len(own),) which original rows are validated on; `own` are their indices.

    Raises:
        UserError: when it would be none, or all.
    """
    # One class a row is balanced by itself, several (or several targets) together.
    one_label = task.has_one_label(data.label_columns)
    strategy = "stratified" if one_label else "multilabel_stratified"
    own_labels = [labels[k] for k in own]
    strata = strata_of(task, own_labels, strategy)
    # A unit of each class stays in training, which has all classes then.
    kept = 1 if task.label_space.classes else 0
    held = held_rows(units[own], strata, data.validation_split or 0.0, data.split_seed, kept)
    empty = None
    if not held.any():
        empty = "validation"
    elif held.all():
        empty = "training"
    if empty:
        raise UserError(
            f"validation_split {data.validation_split} of {len(own)} rows leaves no {empty} rows: give a "
            "validation_file"
        )
    return held


def keys_of(
    rows: Sequence[Row],
    texts: Sequence,
    original: np.ndarray,
    data: DataArguments,
    task: Task,
) -> list[list[tuple[str, str]]]:
    """Return what rows that stay together share: the text, and with augmented rows the id of the source."""
    keys = [[("text", normalised(task.as_text(text)))] for text in texts]
    # Ids may be missing or repeated where no row names another.
    if original.all():
        return keys
    id_column = telling_id_column(rows, data.id_column)
    ids = row_ids(rows, id_column)
    check_sources(rows, ids, original, id_column)
    for key, row, name in zip(keys, rows, ids, strict=True):
        key.append(("id", made_from(row) or name))
    return keys


def held_rows(
    units: np.ndarray,
    strata: np.ndarray,
    share: float,
    seed: int,
    kept: int = 1,
) -> np.ndarray:
    """Return (N,) whether each row is validated on.

    Args:
        units: (N,) number of each row's unit, which stays together.
        strata: (N,) classes, or (N, C) flags.
        share: of the rows.
        seed: of the draw.
        kept: units of each class that are trained on in any case.
    """
    numbers, first, units = np.unique(units, return_index=True, return_inverse=True)
    sizes = np.bincount(units)
    if strata.ndim == 1:
        chosen = by_class(strata[first], sizes, share, seed, kept)
    else:
        chosen = by_flags(strata[first], share, seed)
    # A single unit cannot be on both sides: the caller refuses a part without rows.
    if len(numbers) == 1:
        return np.zeros(len(units), dtype=bool)
    return chosen[units]


def by_class(
    classes: np.ndarray,
    sizes: np.ndarray,
    share: float,
    seed: int,
    kept: int,
) -> np.ndarray:
    """Return (U,) units drawn so that each class gives its share of rows, and keeps at least `kept` units."""
    generator = np.random.default_rng(seed)
    rows_by_class = np.bincount(classes, weights=sizes)
    quotas = quotas_of(rows_by_class, share, generator)
    chosen = np.zeros(len(classes), dtype=bool)
    for number, quota in enumerate(quotas):
        own = generator.permutation(np.flatnonzero(classes == number))
        taken = 0
        for unit in own[kept:]:
            # A large unit may not fit, but a smaller one after it.
            if taken + sizes[unit] <= quota:
                chosen[unit] = True
                taken += sizes[unit]
    return chosen


def quotas_of(rows: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Return (C,) whole numbers of rows near `share` of each class, which sum to `share` of all rows.

    What is missing after rounding down goes to the classes with the largest remainders.
    """
    exact = rows * share
    quotas = np.floor(exact).astype(int)
    # At least one row, however small the share.
    wanted = max(1, round(float(exact.sum())))
    missing = wanted - quotas.sum()
    # Equal remainders in random order: by number the first classes would always win.
    order = np.lexsort((generator.random(len(rows)), quotas - exact))
    quotas[order[:missing]] += 1
    return quotas


def by_flags(flags: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return (U,) units drawn so that each flag is as common on both sides, and none on the validation side alone."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    chosen = np.zeros(len(flags), dtype=bool)
    _, held = next(splitter.split(flags, flags))
    chosen[held] = True
    for column in flags.T.astype(bool):
        # A class that training has never seen cannot be learnt: its first unit goes back.
        if column.any() and not (column & ~chosen).any():
            chosen[np.flatnonzero(column)[0]] = False
    return chosen
