"""Dealing rows into folds: which rows must stay together, and five ways to spread them.

Rows with the same text are one unit in every strategy, so that no model is scored on a text it was trained on. Units of
the same number of rows are dealt together, large ones first, and the largest share goes to the fold that is smallest so
far: the sizes of folds stay near each other however many duplicates there are.
"""

import warnings
from collections.abc import Callable, Hashable, Sequence

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
            rows.append(row)
            # Keys are further nodes of the graph, behind the rows: one edge per key instead of one per pair of rows.
            columns.append(len(keys) + numbers.setdefault(name, len(numbers)))
    size = len(keys) + len(numbers)
    edges = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    _, components = connected_components(edges, directed=False)
    # Numbered by their first row: the draw of validation_split is made again from these numbers.
    return pandas.factorize(components[: len(keys)])[0]


def deal(units: np.ndarray, counted: np.ndarray, folds: int, how: Deal | None) -> np.ndarray:
    """The fold of each row.

    Args:
        units: (N,) number of each row's unit.
        counted: (N,) whether a row counts for the size of a fold; others follow their unit.
        folds: K.
        how: deals units of the same size; it is given their indices. None: GroupKFold over all of them.

    Raises:
        UserError: for fewer units than folds.
    """
    sizes = np.bincount(units, weights=counted).astype(int)
    if (sizes > 0).sum() < folds:
        raise UserError(
            f"folds {folds} needs at least {folds} different texts or groups, but there are {(sizes > 0).sum()}"
        )
    part = np.zeros(len(sizes), dtype=int)
    if how is None:
        from sklearn.model_selection import GroupKFold

        rows = np.flatnonzero(counted)
        for k, (_, held) in enumerate(GroupKFold(folds).split(rows, groups=units[rows])):
            part[units[rows[held]]] = k
        return part[units]
    totals = np.zeros(folds)
    for size in sorted({int(size) for size in sizes if size}, reverse=True):
        own = np.flatnonzero(sizes == size)
        parts = how(own) if len(own) >= folds else np.arange(len(own))
        counts = np.bincount(parts, minlength=folds)
        place = np.empty(folds, dtype=int)
        place[np.argsort(-counts, kind="stable")] = np.argsort(
            totals, kind="stable"
        )  # the largest to the smallest
        part[own] = place[parts]
        totals[place] += size * counts
    return part[units]


def dealer(strategy: str, folds: int, seed: int, strata: np.ndarray) -> Deal | None:
    """How `deal` splits units of one size.

    Args:
        strategy: kfold, stratified, multilabel_stratified or group.
        folds: K.
        seed: of the shuffling.
        strata: of each unit: (U,) classes for stratified, (U, C) flags for multilabel_stratified.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if strategy == "group":
        return None

    def parts(indices: np.ndarray) -> np.ndarray:
        splitter, y = KFold(folds, shuffle=True, random_state=seed), strata[indices]
        if strategy == "stratified" and np.unique(y, return_counts=True)[1].max() >= folds:
            splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        elif strategy == "multilabel_stratified":
            from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

            splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
        out = np.zeros(len(indices), dtype=int)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # classes with fewer members than folds: nothing can be done about them
            for k, (_, held) in enumerate(splitter.split(indices, y)):
                out[held] = k
        return out

    return parts


def strata_of(task: Task, labels: Sequence, strategy: str) -> np.ndarray:
    """What a strategy balances, from encoded labels: (N,) classes, or (N, C) flags for multilabel_stratified."""
    if strategy in ("kfold", "group"):
        return np.zeros(len(labels), dtype=int)
    if strategy == "stratified":
        return task.strata(labels)[:, 0]
    return task.strata_flags(labels)
