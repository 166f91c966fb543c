"""Dealing rows into folds: each row once, duplicates and groups whole, sizes near each other, classes spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.splits import deal, dealer, strata_of, units_of
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.regression import binned

STRATEGIES = ["kfold", "stratified", "multilabel_stratified", "group"]


def strata(strategy: str, units: int, seed: int) -> np.ndarray:
    """Three classes, or four flags, of each unit."""
    generator = np.random.default_rng(seed)
    return (
        generator.integers(0, 2, (units, 4))
        if "multi" in strategy
        else generator.integers(0, 3, units)
    )


@settings(deadline=None, max_examples=150)
@given(
    texts=st.lists(st.integers(0, 40), min_size=6, max_size=80),
    folds=st.integers(2, 5),
    strategy=st.sampled_from(STRATEGIES),
    seed=st.integers(0, 5),
)
def test_every_strategy(texts, folds, strategy, seed):
    """Duplicates together, no fold empty, and sizes within the largest unit (and what stratification costs)."""
    units = units_of([[text] for text in texts])
    how = dealer(strategy, folds, seed, strata(strategy, units.max() + 1, seed))
    counted = np.ones(len(texts), dtype=bool)
    if len(set(texts)) < folds:
        with pytest.raises(UserError, match=f"folds {folds} needs at least {folds} different"):
            deal(units, counted, folds, how)
        return
    fold = deal(units, counted, folds, how)
    assert fold.shape == (len(texts),) and set(fold) == set(range(folds))
    assert all(len(set(fold[units == unit])) == 1 for unit in set(units))
    sizes, largest = np.bincount(fold, minlength=folds), np.bincount(units).max()
    assert sizes.max() - sizes.min() <= largest + (4 if "multi" in strategy else 0)
    assert (fold == deal(units, counted, folds, how)).all(), "the same again"


def test_shared_keys_join_rows():
    """Directly, or through a third row."""
    units = units_of([["a"], ["b", "x"], ["c"], ["x", "c"], ["a", "y"]])
    assert units[0] == units[4] and units[1] == units[2] == units[3] and len(set(units)) == 2


def test_rows_that_do_not_count_follow_their_unit():
    """Augmented rows change neither the sizes nor the number of units."""
    units = np.array([0, 1, 2, 3, 0, 0, 0, 0])
    counted = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    fold = deal(units, counted, 2, dealer("kfold", 2, 0, np.zeros(4)))
    assert np.bincount(fold[:4]).tolist() == [2, 2] and set(fold[4:]) == {fold[0]}


def test_classes_are_spread():
    """30 of one class and 9 of the other in three folds: 10 and 3 each."""
    labels = np.array([0] * 30 + [1] * 9)
    fold = deal(np.arange(39), np.ones(39, bool), 3, dealer("stratified", 3, 0, labels))
    assert [np.bincount(labels[fold == k]).tolist() for k in range(3)] == [[10, 3]] * 3


def test_flags_are_spread():
    """Each flag as often in every fold, give or take one."""
    flags = np.random.default_rng(0).random((300, 6)) < [0.5, 0.3, 0.2, 0.1, 0.06, 0.03]
    fold = deal(
        np.arange(300),
        np.ones(300, bool),
        5,
        dealer("multilabel_stratified", 5, 0, flags.astype(int)),
    )
    counts = np.stack([flags[fold == k].sum(axis=0) for k in range(5)])
    assert (np.ptp(counts, axis=0) <= 2).all(), counts


def test_another_seed_another_division():
    """As repeats need it."""
    made = [
        deal(np.arange(50), np.ones(50, bool), 5, dealer("kfold", 5, seed, np.zeros(50)))
        for seed in (1, 2)
    ]
    assert (made[0] != made[1]).any()


def test_strata_by_task():
    """Numbers are binned, aspects one-hot, flags as they are, joint by intent."""
    regression = TASKS["regression"](LabelSpace(("a", "b"), (), ()))
    assert strata_of(
        regression, [[1.0, 5.0], [2.0, 5.0], [1.0, 7.0]], "multilabel_stratified"
    ).tolist() == [
        [1, 0, 1, 0],
        [0, 1, 1, 0],
        [1, 0, 0, 1],
    ]
    aspects = TASKS["multi_aspect"](LabelSpace(("a", "b"), ("x", "y"), ("x", "y")))
    assert strata_of(aspects, [[0, 1], [1, 1]], "multilabel_stratified").tolist() == [
        [1, 0, 1],
        [0, 1, 1],
    ]
    flags = TASKS["multi_label"](LabelSpace(("a",), ("x", "y"), ("x", "y")))
    assert strata_of(flags, [[0, 1], [1, 1]], "multilabel_stratified").tolist() == [[0, 1], [1, 1]]
    joint = TASKS["joint"].__new__(TASKS["joint"])
    assert strata_of(joint, [(2, [0]), (1, [0, 0])], "stratified").tolist() == [2, 1]


def test_many_numbers_become_tenths():
    """And ten or fewer stay themselves."""
    assert np.bincount(binned(np.random.default_rng(0).normal(size=1000))).tolist() == [100] * 10
    assert binned(np.array([3.0, 1.0, 3.0])).tolist() == [1, 0, 1]
    assert binned(np.array([0.0] * 91 + [*range(1, 10)])).tolist() == [0] * 91 + [*range(1, 10)]
