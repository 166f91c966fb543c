"""Dealing rows into folds: which rows must stay together, and five ways to spread them.

Rows with the same text are one unit in every strategy, so that no model is scored on a text it was trained on. Units of
the same number of rows are dealt together, large ones first, and the largest share goes to the fold that is smallest so
far: the sizes of folds stay near each other however many duplicates there are.
"""

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks import Task

Deal = Callable[[np.ndarray], np.ndarray]
"""Indices of units (M,), at least as many as folds, to their part 0..K-1."""


def units_of(keys: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Return (N,) the number of each row's unit: rows that share any key, directly or through others, are one unit."""
    import pandas
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[Hashable, int] = {}
    rows, columns = [], []
    for row, names in enumerate(keys):
        for name in names:
            # Keys are further nodes of the graph, behind the rows: one edge per key instead of one per pair of rows.
            number = numbers.setdefault(name, len(numbers))
            rows.append(row)
            columns.append(len(keys) + number)
    size = len(keys) + len(numbers)
    ones = np.ones(len(rows))
    edges = coo_array((ones, (rows, columns)), shape=(size, size))
    _, components = connected_components(edges, directed=False)
    # Numbered by their first row: the draw of validation_split is made again from these numbers.
    of_rows = components[: len(keys)]
    codes, _ = pandas.factorize(of_rows)
    return codes


def deal(units: np.ndarray, counted: np.ndarray, folds: int, how: Deal | None) -> np.ndarray:
    """Return (N,) the fold of each row.

    Args:
        units: (N,) number of each row's unit.
        counted: (N,) whether a row counts for the size of a fold; others follow their unit.
        folds: K.
        how: deals units of the same size; it is given their indices. None: GroupKFold over all of them.

    Raises:
        UserError: for fewer units than folds.
    """
    sizes = np.bincount(units, weights=counted).astype(int)
    found = np.count_nonzero(sizes)
    if found < folds:
        raise UserError(
            f"folds {folds} needs at least {folds} different texts or groups, but there are {found}"
        )
    if how is None:
        return deal_groups(units, counted, folds)[units]
    part = np.zeros(len(sizes), dtype=int)
    totals = np.zeros(folds)
    known_sizes = np.unique(sizes[sizes > 0])
    for size in reversed(known_sizes.tolist()):
        own = np.flatnonzero(sizes == size)
        # Fewer units than folds cannot be balanced by what is in them.
        parts = how(own) if len(own) >= folds else np.arange(len(own))
        counts = np.bincount(parts, minlength=folds)
        # The largest part goes to the fold that is smallest so far.
        place = np.empty(folds, dtype=int)
        by_size = np.argsort(-counts, kind="stable")
        place[by_size] = np.argsort(totals, kind="stable")
        part[own] = place[parts]
        totals[place] += size * counts
    return part[units]


def deal_groups(units: np.ndarray, counted: np.ndarray, folds: int) -> np.ndarray:
    """Return (U,) the fold of each unit by scikit-learn's GroupKFold."""
    from sklearn.model_selection import GroupKFold

    part = np.zeros(units.max() + 1, dtype=int)
    rows = np.flatnonzero(counted)
    splits = GroupKFold(folds).split(rows, groups=units[rows])
    for fold, (_, held) in enumerate(splits):
        held_rows = rows[held]
        part[units[held_rows]] = fold
    return part


def dealer(strategy: str, folds: int, seed: int, strata: np.ndarray) -> Deal | None:
    """Return how `deal` splits units of one size; None for group, which splits all units at once.

    Args:
        strategy: kfold, stratified, multilabel_stratified or group.
        folds: K.
        seed: of the shuffling.
        strata: of each unit: (U,) classes for stratified, (U, C) flags for multilabel_stratified.
    """
    if strategy == "group":
        return None

    def parts(indices: np.ndarray) -> np.ndarray:
        labels = strata[indices]
        splitter = splitter_for(strategy, folds, seed, labels)
        out = np.zeros(len(indices), dtype=int)
        with warnings.catch_warnings():
            # Of classes with fewer members than folds, about which nothing can be done.
            warnings.simplefilter("ignore")
            for fold, (_, held) in enumerate(splitter.split(indices, labels)):
                out[held] = fold
        return out

    return parts


def splitter_for(strategy: str, folds: int, seed: int, labels: np.ndarray) -> Any:
    """Return scikit-learn's (or iterative-stratification's) splitter for units with these labels."""
    from sklearn.model_selection import KFold, StratifiedKFold

    if strategy == "multilabel_stratified":
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

        return MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    if strategy == "stratified":
        _, counts = np.unique(labels, return_counts=True)
        # StratifiedKFold refuses labels of which every class has fewer members than folds.
        if counts.max() >= folds:
            return StratifiedKFold(folds, shuffle=True, random_state=seed)
    return KFold(folds, shuffle=True, random_state=seed)


def strata_of(task: Task, labels: Sequence, strategy: str) -> np.ndarray:
    """Return what a strategy balances, from encoded labels: (N,) classes, or (N, C) flags for multilabel_stratified."""
    if strategy in ("kfold", "group"):
        return np.zeros(len(labels), dtype=int)
    if strategy == "stratified":
        return task.strata(labels)[:, 0]
    return task.strata_flags(labels)
