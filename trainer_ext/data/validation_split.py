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
    # One class a row is balanced by itself, several (or several targets) together.
    one_label = task.has_one_label(data.label_columns)
    strategy = "stratified" if one_label else "multilabel_stratified"
    strata = strata_of(task, [labels[k] for k in own], strategy)
    kept = 1 if task.label_space.classes else 0  # of each class, so that training has all of them
    held = held_rows(units[own], strata, data.validation_split, data.split_seed, kept)
    if not held.any() or held.all():
        part = "validation" if not held.any() else "training"
        raise UserError(
            f"validation_split {data.validation_split} of {len(own)} rows leaves no {part} rows: give a validation_file"
        )
    held_units = set(units[own[held]])
    held_back = np.array([unit in held_units for unit in units])
    return Parts(
        [row for row, is_held in zip(rows, held_back, strict=True) if not is_held],
        [row for row, is_held in zip(rows, held_back & original, strict=True) if is_held],
    )


def keys_of(
    rows: Sequence[Row], texts: Sequence, original: np.ndarray, data: DataArguments, task: Task
) -> list[list[tuple[str, str]]]:
    """What rows that stay together share: the text, and for rows made from others the id of their source."""
    keys = [[("text", normalised(task.as_text(text)))] for text in texts]
    if original.all():
        return keys
    id_column = telling_id_column(rows, data.id_column)
    ids = row_ids(rows, id_column)
    check_sources(rows, ids, original, id_column)
    for key, row, name in zip(keys, rows, ids, strict=True):
        key.append(("id", made_from(row) or name))
    return keys


def held_rows(
    units: np.ndarray, strata: np.ndarray, share: float, seed: int, kept: int = 1
) -> np.ndarray:
    """(N,) whether each row is validated on.

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
    return chosen[units] if len(numbers) > 1 else np.zeros(len(units), dtype=bool)


def by_class(
    classes: np.ndarray, sizes: np.ndarray, share: float, seed: int, kept: int
) -> np.ndarray:
    """(U,) units drawn so that each class gives its share of rows, and keeps as many units at least."""
    generator = np.random.default_rng(seed)
    quotas = quotas_of(np.bincount(classes, weights=sizes), share, generator)
    chosen = np.zeros(len(classes), dtype=bool)
    for number, quota in enumerate(quotas):
        own = generator.permutation(np.flatnonzero(classes == number))
        taken = 0
        for unit in own[kept:]:
            if taken + sizes[unit] <= quota:
                chosen[unit] = True
                taken += sizes[unit]
    return chosen


def quotas_of(rows: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """(C,) whole numbers of rows near `share` of each class, which sum to `share` of all (largest remainders first)."""
    exact = rows * share
    quotas = np.floor(exact).astype(int)
    missing = max(1, round(float(exact.sum()))) - quotas.sum()
    order = np.lexsort((generator.random(len(rows)), quotas - exact))
    quotas[order[:missing]] += 1
    return quotas


def by_flags(flags: np.ndarray, share: float, seed: int) -> np.ndarray:
    """(U,) units drawn so that each flag is as common on both sides; none is left to the validation side alone."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    chosen = np.zeros(len(flags), dtype=bool)
    chosen[next(splitter.split(flags, flags))[1]] = True
    for column in flags.T.astype(bool):
        if column.any() and not (column & ~chosen).any():
            chosen[np.flatnonzero(column)[0]] = False
    return chosen
