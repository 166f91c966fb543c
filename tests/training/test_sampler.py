"""The length-grouped sampler."""

from hypothesis import given
from hypothesis import strategies as st

from trainer_ext.training.sampler import LengthGroupedSampler


@given(st.lists(st.integers(1, 200), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3))
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
    spreads = [max(batch) - min(batch) for batch in zip(*[iter([lengths[k] for k in order])] * 10, strict=True)]
    assert sum(spreads) / len(spreads) < 10, "random batches of ten would spread over more than 80"
