"""Balancing as row numbers: closed forms, and properties of any labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_ext.data.sampling.resample import METHODS, make_resampler, repeats, row_weights
from trainer_ext.tasks import TASKS

flagged = TASKS["multi_label"].classes_to_balance
CLASSES = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array)
SEVERAL = st.integers(1, 60).flatmap(
    lambda rows: st.tuples(
        st.just(rows), st.lists(st.integers(0, 3), min_size=3 * rows, max_size=3 * rows)
    )
)


def test_sizes_of_classes():
    """900, 100 and 2 rows: up to 900, down to 2, or to a third of all."""
    labels = np.repeat([0, 1, 2], [900, 100, 2])
    for method, sizes in (
        ("oversample", [900] * 3),
        ("undersample", [2] * 3),
        ("hybrid", [334] * 3),
    ):
        resampler = make_resampler(labels, method)
        for epoch in range(3):
            rows = resampler.draw(seed=1, epoch=epoch)
            assert np.bincount(labels[rows]).tolist() == sizes
            assert len(rows) == len(resampler) == sum(sizes)


@given(
    labels=CLASSES, method=st.sampled_from(METHODS), seed=st.integers(0, 9), epoch=st.integers(0, 9)
)
def test_any_classes(labels, method, seed, epoch):
    """Classes are equal; a row is shown as often as another of its class, or once more; rows stay in order."""
    rows = make_resampler(labels, method).draw(seed, epoch)
    counts, present = np.bincount(rows, minlength=len(labels)), np.unique(labels)
    sizes = np.array([counts[labels == k].sum() for k in present])
    before = np.bincount(labels)[present]
    target = {"oversample": before.max(), "undersample": before.min(), "hybrid": before.mean()}[
        method
    ]
    assert (np.abs(sizes - target) < 1).all() and (method == "hybrid" or (sizes == target).all())
    assert all(np.ptp(counts[labels == k]) <= 1 for k in present)
    assert (np.diff(rows) >= 0).all() and rows.max() < len(labels)


@given(
    SEVERAL,
    st.sampled_from(["multi_aspect", "multi_label"]),
    st.sampled_from(METHODS),
    st.integers(0, 9),
)
def test_any_several_labels(drawn, task, method, epoch):
    """No row is lost by oversampling or shown twice by undersampling; the length of an epoch is always the same."""
    labels = np.array(drawn[1]).reshape(drawn[0], 3)
    if task == "multi_label":
        labels = (labels == 0).astype(int)
    resampler = make_resampler(TASKS[task].classes_to_balance(labels), method)
    counts = np.bincount(resampler.draw(3, epoch), minlength=len(labels))
    assert counts.sum() == len(resampler)
    assert (np.abs(counts - resampler.repeats) < 1).all()
    if method == "oversample":
        assert counts.min() >= 1
    elif method == "undersample":
        assert counts.max() <= 1
    else:
        assert len(resampler) == len(labels)


def test_weights_of_aspects_by_hand():
    """Gupta et al. with the commonest label's share, 3/4: a row has the factor of its rarest label."""
    labels = np.array([[0, 1], [0, 1], [0, 0], [1, 0]])
    assert row_weights(labels) == pytest.approx(np.sqrt([1.5, 1.5, 1.5, 3.0]))
    assert repeats(row_weights(labels), "hybrid").sum() == pytest.approx(4)


def test_weights_of_flags_by_hand():
    """Shares 3/5 and 1/5; a row without a flag counts as having a label of its own, here with 1/5."""
    labels = np.array([[1, 0], [1, 0], [1, 1], [1, 0], [0, 0]])
    assert row_weights(flagged(labels)) == pytest.approx(np.sqrt([1, 1, 4, 1, 4]))
    assert row_weights(flagged(np.zeros((3, 2), dtype=int))) == pytest.approx(np.ones(3))


def test_rare_labels_are_shown_more_often():
    """Of a label with a share of 1% several times as often, and the mean over epochs is what the weights say."""
    generator = np.random.default_rng(0)
    labels = (generator.random((2000, 3)) < [0.5, 0.1, 0.01]).astype(int)
    resampler = make_resampler(flagged(labels), "hybrid")
    counts = (
        sum(np.bincount(resampler.draw(0, epoch), minlength=2000) for epoch in range(400)) / 400
    )
    assert np.abs(counts - resampler.repeats).max() < 0.15
    shown = np.average(labels, axis=0, weights=counts)
    assert shown[2] > 3 * labels[:, 2].mean() and shown[0] > 0.35


def test_a_function_of_seed_and_epoch():
    labels = np.repeat([0, 1], [90, 10])
    draw = make_resampler(labels, "undersample").draw
    assert draw(1, 0).tolist() == draw(1, 0).tolist()
    assert draw(1, 0).tolist() != draw(1, 1).tolist()
    assert draw(1, 0).tolist() != draw(2, 0).tolist()
    seen = {row for epoch in range(60) for row in draw(0, epoch)}
    assert len(seen) > 95, "over the epochs nearly every row is shown"


def test_a_million_rows_keep_their_sizes():
    """Where rounding errors of the sum could show."""
    labels = np.random.default_rng(0).choice(
        7, 1_000_000, p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.015, 0.005]
    )
    rows = make_resampler(labels, "oversample").draw(0, 0)
    assert np.bincount(labels[rows]).tolist() == [np.bincount(labels).max()] * 7
