"""Combining outputs against closed forms, for every task."""

import numpy as np
import pytest

from trainer_ext.errors import UserError
from trainer_ext.inference.combine import (
    combine,
    ensemble_task,
    fit_weights,
    inverse_loss_weights,
)
from trainer_ext.tasks import TASKS, Calibration, LabelSpace
from trainer_ext.tasks.activations import sigmoid, softmax
from trainer_ext.tasks.joint_space import JointLabelSpace

SPACE = LabelSpace(("label",), ("a", "b", "c"), ("a", "b", "c"))
RANDOM = np.random.default_rng(0)


def task(name: str, **calibration):
    space = LabelSpace(("x", "y", "z"), (), ()) if name == "regression" else SPACE
    if name == "joint":
        space = JointLabelSpace(("intent",), ("a", "b", "c"), ("a", "b", "c"), ("O", "B-x"))
    return TASKS[name](space, Calibration(**calibration))


def test_mean_of_probabilities():
    """With each model's own temperature; the task reads the mean back from the combined logits."""
    one, two = RANDOM.normal(size=(2, 5, 3))
    tasks = [task("single_label", temperature=2.0), task("single_label")]
    expected = (softmax(one / 2) + softmax(two)) / 2
    assert np.allclose(softmax(combine(tasks, [one, two])), expected)
    weighted = combine(tasks, [one, two], "weighted", [3, 1])
    assert np.allclose(softmax(weighted), 0.75 * softmax(one / 2) + 0.25 * softmax(two))
    assert np.allclose(combine(tasks, [one, two], "logits"), (one / 2 + two) / 2)


def test_flags():
    """Sigmoids, and the mean of the thresholds."""
    one, two = RANDOM.normal(size=(2, 5, 3))
    tasks = [task("multi_label", thresholds=(0.2, 0.5, 0.9)), task("multi_label")]
    assert np.allclose(sigmoid(combine(tasks, [one, two])), (sigmoid(one) + sigmoid(two)) / 2)
    assert ensemble_task("ab", tasks).calibration.thresholds == pytest.approx((0.35, 0.5, 0.7))


def test_scores_are_averaged():
    """Whatever the way, but for weights."""
    tasks = [task("regression")] * 2
    assert combine(tasks, [np.array([1.0, 2, 3]), np.array([3.0, 2, 2])]).tolist() == [2, 2, 2.5]
    assert combine(tasks, [np.zeros(3), np.ones(3)], "weighted", [1, 3]).tolist() == [0.75] * 3


def test_votes():
    """The majority decides, the mean probability between equals; scores are the shares of votes."""
    a, b, c = np.array([2.0, 0, 0]), np.array([0, 0.1, 0]), np.array([0, 0.1, 0])
    whole = task("single_label")
    assert whole.decode(combine([whole] * 3, [a, b, c]))["label"] == "a"
    voted = whole.decode(combine([whole] * 3, [a, b, c], "vote"))
    assert voted["label"] == "b" and voted["score"] == pytest.approx(2 / 3, abs=2e-3)
    assert whole.decode(combine([whole] * 2, [a, b], "vote"))["label"] == "a"
    flags = task("multi_label")
    one, two = np.array([3.0, -1, 1]), np.array([-1.0, -1, 1])
    assert flags.predictions(combine([flags] * 2, [one, two], "vote")).tolist() == [1, 0, 1]


def test_votes_of_calibrated_models():
    """Each decides with its own thresholds and bias, which do not count again when votes are counted."""
    low = [task("multi_label", thresholds=(0.2, 0.2, 0.2))] * 3
    for heads, expected in (([0, -2, -2], []), ([0, 0, -2], ["a"]), ([-1.3, -1.3, -9], ["a"])):
        outputs = [np.array([head, -9.0, -9.0]) for head in heads]
        assert (
            ensemble_task("abc", low, "vote").decode(combine(low, outputs, "vote"))["labels"]
            == expected
        )
    high = [task("multi_label", thresholds=(0.8, 0.8, 0.8))] * 3
    outputs = [np.array([head, -9.0, -9.0]) for head in (2, 2, 0)]
    assert ensemble_task("abc", high, "vote").decode(combine(high, outputs, "vote"))["labels"] == [
        "a"
    ]
    biased = [task("single_label", bias=(0.0, 1.0, 0.0))] * 3
    outputs = [np.array(head) for head in ([3.0, 0, 0], [3.0, 0, 0], [0.5, 0, 0])]
    assert (
        ensemble_task("abc", biased, "vote").decode(combine(biased, outputs, "vote"))["label"]
        == "a"
    )


def test_equal_votes_of_calibrated_models():
    """The probabilities decide as the models' thresholds and biases have it: 0.3 is much where 0.2 is enough."""
    low = [task("multi_label", thresholds=(0.2, 0.2, 0.2))] * 2
    outputs = [np.array([head, -9.0, -9.0]) for head in (-0.2, -1.6)]
    assert ensemble_task("ab", low, "vote").decode(combine(low, outputs, "vote"))["labels"] == ["a"]
    biased = [task("single_label", bias=(0.0, 1.0, 0.0))] * 2
    outputs = [np.array(head) for head in ([1.2, 0.0, -5], [0.5, 0, -5])]
    assert (
        ensemble_task("ab", biased, "vote").decode(combine(biased, outputs, "vote"))["label"] == "b"
    )


def test_joint():
    """Mean of intent probabilities, and of tag probabilities word by word."""
    whole = task("joint")
    intents, tags = RANDOM.normal(size=(2, 3)), RANDOM.normal(size=(2, 4, 2))
    intent, tag = combine([whole] * 2, list(zip(intents, tags, strict=True)))
    assert np.allclose(softmax(intent), softmax(intents).mean(axis=0))
    assert np.allclose(softmax(tag), softmax(tags).mean(axis=0)) and tag.shape == (4, 2)


def test_one_model_answers_as_alone():
    """Up to rounding: its probabilities."""
    logits = RANDOM.normal(size=(4, 3))
    assert np.allclose(softmax(combine([task("single_label")], [logits])), softmax(logits))


def test_different_labels_are_refused():
    """Naming both models."""
    other = TASKS["single_label"](LabelSpace(("label",), ("a", "b", "d"), ("a", "b", "d")))
    with pytest.raises(
        UserError, match="models m1 and m2 cannot be combined: their labels differ.*'c'.*'d'"
    ):
        ensemble_task(["m1", "m2"], [task("single_label"), other])
    with pytest.raises(UserError, match="their tasks differ: single_label and multi_label"):
        ensemble_task(["m1", "m2"], [task("single_label"), task("multi_label")])


def test_weights_fitted_on_the_same_rows():
    """Least squares by hand: y = 0.7 a + 0.3 b; a useless model gets nothing."""
    whole = task("regression")
    a, b = RANDOM.normal(size=(2, 200, 3))
    assert fit_weights([whole] * 2, [a, b], 0.7 * a + 0.3 * b) == pytest.approx(
        [0.7, 0.3], abs=1e-3
    )
    labels = RANDOM.integers(0, 3, 200)
    good, noise = (
        2 * np.eye(3)[labels] + RANDOM.normal(size=(200, 3)),
        5 * RANDOM.normal(size=(200, 3)),
    )
    weights = fit_weights([task("single_label")] * 2, [good, noise], labels)
    assert sum(weights) == pytest.approx(1) and weights[0] > 0.85
    assert whole.ensemble_loss(a, a + 2) == pytest.approx(4)


def test_weights_from_rows_of_their_own():
    """1 / loss."""
    assert inverse_loss_weights([1.0, 3.0]) == pytest.approx([0.75, 0.25])


def test_the_mean_bias_counts_models_without_one_as_zero():
    tasks = [task("single_label", bias=(0.0, 1.0, -1.0)), task("single_label")]
    assert ensemble_task("ab", tasks).calibration.bias == pytest.approx((0.0, 0.5, -0.5))


def test_loss_of_calibrated_and_of_joint_outputs():
    """At the temperature; of intents and tags the sum, where labels that no training row has do not count."""
    logits = 2 * np.log(np.array([[2.0, 1.0, 1.0]]))
    assert task("single_label", temperature=2.0).ensemble_loss(
        logits, np.array([0])
    ) == pytest.approx(np.log(2))
    intents = np.log(np.array([[2.0, 1.0, 1.0], [8.0, 1.0, 1.0]]))
    tags = [np.log(np.array([[3.0, 1.0], [9.0, 1.0]])), np.log(np.array([[1.0, 15.0]]))]
    labels = (np.array([0, -1000]), [np.array([1, -1001]), np.array([0])])
    expected = np.log(2) + (np.log(4) + np.log(16)) / 2
    assert task("joint").ensemble_loss((intents, tags), labels) == pytest.approx(expected)


def test_tags_are_voted_for_as_each_model_decides_them():
    """Not word by word: alone, each of these models goes on with the slot that it has begun."""
    rows = [["B-a", "I-a", "O"]] * 50
    task = TASKS["joint"](JointLabelSpace.from_rows(["x", "y"], rows, [["some", "more", "words"]]))
    output = (np.array([1.0, 0.0]), np.array([[0, 4, 0], [0, 3, 2.6], [5, 0, 0]]))
    assert task.decode(output)["tags"] == ["B-a", "I-a", "O"]
    for how in ("mean", "logits", "vote"):
        assert task.decode(combine([task] * 3, [output] * 3, how))["tags"] == ["B-a", "I-a", "O"]
