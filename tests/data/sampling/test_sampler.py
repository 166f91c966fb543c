"""The length-grouped and the balanced sampler."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_ext.data.sampling.resample import make_resampler
from trainer_ext.data.sampling.sampler import BalancedSampler, LengthGroupedSampler


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3)
)
def test_each_row_once_and_the_longest_batch_first(lengths, batch_size, epoch):
    sampler = LengthGroupedSampler(lengths, batch_size, seed=7)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    if len(lengths) >= batch_size:
        whole = len(order) // batch_size * batch_size
        assert max(lengths[k] for k in order[:batch_size]) == max(lengths[k] for k in order[:whole])


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = LengthGroupedSampler(range(1, 500), 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_batches_hold_similar_lengths():
    lengths = [k % 100 for k in range(2000)]
    order = list(LengthGroupedSampler(lengths, 10, seed=0))
    spreads = [
        max(batch) - min(batch)
        for batch in zip(*[iter([lengths[k] for k in order])] * 10, strict=True)
    ]
    assert sum(spreads) / len(spreads) < 10, "random batches of ten would spread over more than 80"


BALANCED = make_resampler(np.repeat([0, 1, 2], [300, 30, 7]), "hybrid")


@pytest.mark.parametrize(
    "lengths", [None, [1 + k % 50 for k in range(337)]], ids=["random", "grouped by length"]
)
def test_balanced_rows_are_those_drawn(lengths):
    """In another order, which is a function of seed and epoch; the length is that of the epoch."""

    def order(seed, epoch):
        sampler = BalancedSampler(BALANCED, seed, lengths, batch_size=8)
        sampler.set_epoch(epoch)
        assert len(sampler) == len(BALANCED)
        return list(sampler)

    assert sorted(order(5, 2)) == BALANCED.draw(5, 2).tolist() != order(5, 2)
    assert order(1, 0) == order(1, 0)
    assert sorted(order(1, 0)) != sorted(order(1, 1)) and order(1, 0) != order(2, 0)
    assert all(isinstance(row, int) for row in order(0, 0)), "a datasets.Dataset takes no tensor"


def test_balanced_batches_hold_similar_lengths():
    lengths = [k % 100 for k in range(337)]
    order = list(BalancedSampler(BALANCED, 0, lengths, batch_size=8))
    batches = [
        [lengths[k] for k in order[start : start + 8]] for start in range(0, len(order) - 8, 8)
    ]
    assert sum(max(batch) - min(batch) for batch in batches) / len(batches) < 20
    assert max(batches[0]) == max(map(max, batches)), "the longest comes first"
