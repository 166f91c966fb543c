"""Out-of-domain scores against SciPy and literal values, the threshold against its definition, and what answers say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from trainer_ext.tasks import TASKS, Calibration, LabelSpace
from trainer_ext.tasks.ood_scores import OF_LOGITS
from trainer_ext.tasks.rejection import (
    Rejection,
    fit_threshold,
    sigmoid_scores,
    softmax_scores,
)

SPACE = LabelSpace.from_names(["l"], ["a", "b", "c"])
RNG = np.random.default_rng(0)
FLOATS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def test_scores_of_one_label_are_those_of_scipy():
    logits = RNG.normal(size=(7, 4)).astype(np.float32) * 50
    assert softmax_scores(logits, 2.0, "energy") == pytest.approx(
        -logsumexp(logits.astype(np.float64), axis=1)
    )
    probabilities = np.exp(log_softmax(logits.astype(np.float64) / 2, axis=1))
    assert softmax_scores(logits, 2.0, "max_probability") == pytest.approx(
        1 - probabilities.max(axis=1)
    )


def test_scores_of_aspects_are_means_over_them():
    logits = RNG.normal(size=(5, 3, 4))
    for score in OF_LOGITS:
        alone = [softmax_scores(logits[:, aspect], 1.0, score) for aspect in range(3)]
        assert softmax_scores(logits, 1.0, score) == pytest.approx(np.mean(alone, axis=0))


def test_scores_of_several_labels_by_hand():
    logits = np.array([[0.0, np.log(3.0)], [-800.0, -800.0]])
    # log(1 + 1) + log(1 + 3); nothing of a label that is far from true
    assert sigmoid_scores(logits, 1.0, "energy") == pytest.approx([-np.log(8.0), 0.0])
    assert sigmoid_scores(logits, 1.0, "max_probability") == pytest.approx([0.25, 1.0])


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, 0.0, -1e4]], dtype=np.float32)
    assert softmax_scores(logits, 1.0, "energy") == pytest.approx([-1e4])
    assert softmax_scores(logits, 1.0, "max_probability") == pytest.approx([0.0])


@given(FLOATS, st.floats(0, 0.5))
def test_a_threshold_rejects_at_most_the_share_that_was_asked_for(values, rate):
    scores = np.array(values)
    threshold = fit_threshold(scores, rate)
    assert threshold in scores
    # To a rounding: 1 - rate is not exact.
    assert (scores > threshold).mean() <= rate + 1e-9
    smaller = scores[scores < threshold]
    if len(smaller):
        assert (scores > smaller.max()).mean() >= rate - 1e-9


@pytest.mark.parametrize("threshold, is_rejected", [(0.2, True), (0.4, False)])
def test_an_answer_says_whether_it_is_rejected(threshold, is_rejected):
    logits = np.log([0.7, 0.2, 0.1])
    task = TASKS["single_label"](SPACE, rejection=Rejection("max_probability", threshold, 0.05))
    answer = task.answer("a text", logits)
    assert answer["label"] == "a"
    assert answer["rejected"] is is_rejected
    assert answer["ood_score"] == pytest.approx(0.3)
    assert "rejected" not in TASKS["single_label"](SPACE).answer("a text", logits)


def test_the_score_is_of_the_calibrated_probabilities():
    logits = np.log([0.7, 0.2, 0.1]) * 3
    rejection = Rejection("max_probability", 0.5, 0.05)
    task = TASKS["single_label"](SPACE, Calibration(3.0), rejection)
    assert task.answer("a text", logits)["ood_score"] == pytest.approx(0.3)


def test_dict_round_trip_and_what_is_refused():
    rejection = Rejection("energy", -3.5, 0.01)
    assert Rejection.from_dict(rejection.to_dict()) == rejection
    assert Rejection.from_dict(None) is None
    with pytest.raises(ValueError, match="score 'luck' is not one of max_probability, energy"):
        Rejection("luck", 0.0, 0.05)
    with pytest.raises(ValueError, match="threshold nan is not a number"):
        Rejection("energy", float("nan"), 0.05)
