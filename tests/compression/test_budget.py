"""The choice of sizes for a time: against every other choice, on small cases."""

from itertools import product

import numpy as np
import pytest
import torch

from trainer_ext.compression.budget import Part, choose, lost_importance


def total(parts, sizes):
    """Return the time and the loss of a choice."""
    options = [part.sizes.index(size) for part, size in zip(parts, sizes, strict=True)]
    chosen = list(zip(parts, options, strict=True))
    ms = sum(part.ms[option] for part, option in chosen)
    lost = sum(part.lost[option] for part, option in chosen)
    return ms, lost


def least_lost(parts, budget):
    """Return the least loss of all choices that fit."""
    found = [total(parts, sizes) for sizes in product(*(part.sizes for part in parts))]
    return min(lost for ms, lost in found if ms <= budget + 1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_choice_loses_less(seed):
    """Of all 4^5, with times that are whole steps; the budget holds."""
    draw = np.random.default_rng(seed)
    parts = []
    for _ in range(5):
        importance = torch.tensor(draw.exponential(size=4))
        ms = np.sort(draw.integers(0, 50, size=4)) * 0.01
        parts.append(Part([1, 2, 3, 4], ms, lost_importance(importance, [1, 2, 3, 4])))
    fastest = sum(part.ms[0] for part in parts)
    for spare in (0.2, 0.5, 1.0):
        budget = fastest + spare
        ms, lost = total(parts, choose(parts, budget))
        assert ms <= budget + 1e-9
        assert lost == pytest.approx(least_lost(parts, budget), abs=1e-9)


def test_the_important_part_keeps_its_units():
    """Two parts that take equally long, time for one of them."""
    ms = np.array([1.0, 2.0])
    parts = [Part([1, 2], ms, np.array([5.0, 0.0])), Part([1, 2], ms, np.array([3.0, 0.0]))]
    assert choose(parts, 3.0) == [2, 1]
    assert choose(parts, 4.0) == [2, 2]
    assert choose(parts, 2.0) == [1, 1]


def test_what_loses_nothing_is_left_out():
    """Of equal losses the first, which is the smallest."""
    part = Part([1, 2, 3], np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0]))
    assert choose([part], 9.0) == [1]


def test_a_slow_small_size_is_not_taken():
    """Times that do not rise with the size."""
    part = Part([1, 2, 3], np.array([3.0, 1.0, 2.0]), np.array([2.0, 1.0, 0.0]))
    assert choose([part], 1.0) == [2]
    assert choose([part], 3.0) == [3]


def test_a_budget_below_the_fastest_is_an_error():
    """With what is missing."""
    part = Part([1, 2], np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="longer than 0.5 ms"):
        choose([part], 0.5)


def test_the_least_important_are_lost_first():
    """All but one of 1, 2, 3 and 4: 1 + 2 + 3."""
    importance = torch.tensor([3.0, 1.0, 4.0, 2.0])
    assert lost_importance(importance, [1, 2, 3, 4]).tolist() == [6, 3, 1, 0]
