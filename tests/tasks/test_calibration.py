"""Temperature, thresholds, biases and ECE: against brute force, closed forms and literal values."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from trainer_ext.tasks import TASKS, Calibration, LabelSpace
from trainer_ext.tasks.activations import sigmoid
from trainer_ext.tasks.calibration import (
    best_threshold,
    expected_calibration_error,
    fit_bias,
    fit_temperature,
    macro_f1,
)

SPACE = LabelSpace.from_names(["l"], ["a", "b", "c"])
RNG = np.random.default_rng(0)


def sample(logits: np.ndarray) -> np.ndarray:
    """Class indices drawn from softmax(logits): labels for which the logits are calibrated."""
    return (logits + RNG.gumbel(size=logits.shape)).argmax(axis=-1)


def test_dict_round_trip():
    for calibration in (
        Calibration(),
        Calibration(1.5, (0.25, 0.5)),
        Calibration(0.5, bias=(0.0, 1.0)),
    ):
        assert Calibration.from_dict(calibration.to_dict()) == calibration
    assert Calibration.from_dict(None) == Calibration() and Calibration().to_dict() == {
        "temperature": 1.0
    }


def test_temperature_minimum_of_a_known_function():
    assert fit_temperature(lambda t: (math.log(t) - math.log(3)) ** 2) == pytest.approx(3, rel=1e-3)
    assert fit_temperature(lambda t: t) == fit_temperature(lambda t: -t) == 1, (
        "at an end of the range it is not known"
    )


@pytest.mark.parametrize("name", ["single_label", "multi_aspect", "multi_label"])
def test_overconfident_logits_get_their_temperature_back(name):
    space = SPACE if name != "multi_aspect" else LabelSpace.from_names(["x", "y"], ["a", "b", "c"])
    task = TASKS[name](space)
    true = RNG.normal(size=(4000, *task.head_shape)) * 2
    labels = (
        (RNG.uniform(size=true.shape) < sigmoid(true)).astype(int)
        if name == "multi_label"
        else sample(true)
    )
    logits = 3 * true
    fitted = task.fit_calibration(logits, labels, "temperature")
    assert (
        fitted.temperature == pytest.approx(3, rel=0.1)
        and fitted.bias is None
        and fitted.thresholds is None
    )
    grid = [task.nll(logits, labels, t) for t in np.linspace(0.5, 6, 50)]
    assert task.nll(logits, labels, fitted.temperature) <= min(grid)
    metrics = TASKS[name](space, fitted).calibration_metrics(logits, labels)
    assert metrics["ece"] < 0.03 < 0.08 < metrics["ece_uncalibrated"]
    assert task.calibration_metrics(logits, labels) == {}


def test_ece_literal():
    # Two bins: 0.9, 0.9 (one of two right: gap 0.4) and 0.6, 0.6 (both right: gap 0.4); then a perfect one.
    confidence, right = np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 0, 1, 1])
    assert expected_calibration_error(confidence, right) == pytest.approx(0.4)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1, 0])) == 0


def test_best_threshold_literal():
    # Accepting two (F1 0.8) beats one (2/3) and three (0.8 too, but later).
    assert best_threshold(np.array([0.9, 0.2, 0.7, 0.1]), np.array([1, 1, 1, 0])) == pytest.approx(
        0.15
    )
    assert best_threshold(np.array([0.2, 0.1]), np.array([0, 0])) == 0.5
    assert best_threshold(np.array([0.4, 0.2]), np.array([1, 1])) == pytest.approx(
        0.1
    )  # everything


@pytest.mark.parametrize("seed", range(5))
def test_best_threshold_is_brute_force(seed):
    generator = np.random.default_rng(seed)
    p, labels = (
        generator.choice(np.linspace(0.05, 0.95, 12), 60),
        generator.integers(0, 2, 60),
    )  # with ties
    ours = f1_score(labels, p > best_threshold(p, labels))
    assert ours == pytest.approx(max(f1_score(labels, p > t) for t in np.linspace(0, 0.94, 200)))


def test_macro_f1_equals_sklearn():
    labels, predicted = RNG.integers(0, 4, 50), RNG.integers(1, 4, 50)
    assert macro_f1(predicted, labels, 6) == pytest.approx(
        f1_score(labels, predicted, average="macro")
    )


def test_bias_raises_macro_f1_of_a_model_that_forgets_the_rare_class():
    labels = RNG.choice(3, 600, p=[0.8, 0.15, 0.05])
    logits = RNG.normal(size=(600, 3)) + 1.5 * np.eye(3)[labels] + np.array([1.5, 0, 0])
    before = macro_f1(logits.argmax(axis=1), labels, 3)
    bias = fit_bias(logits, labels)
    task = TASKS["single_label"](SPACE, Calibration(bias=bias))
    after = task.compute_metrics(logits, labels)["f1_macro"]
    assert after > before + 0.02
    assert bias[0] < max(bias[1:])


def test_bias_decides_and_probabilities_stay():
    task = TASKS["single_label"](SPACE, Calibration(2.0, bias=(0.0, 1.0, 0.0)))
    logits = 2 * np.log(np.array([5.0, 2.0, 1.0]))
    answer = task.decode(logits)
    assert answer["probabilities"] == {"a": 0.625, "b": 0.25, "c": 0.125}
    assert answer["label"] == "b" and answer["score"] == 0.25  # ln 2 + 1 > ln 5
    assert task.predictions(logits[None]).tolist() == [1]


def test_thresholds_decide_and_both_are_fitted_after_the_temperature():
    task = TASKS["multi_label"](SPACE, Calibration(thresholds=(0.2, 0.5, 0.9)))
    logits = np.log(3) * np.array([-1.0, -1.0, 1.0])
    assert task.decode(logits)["labels"] == ["a"]
    logits, labels = RNG.normal(size=(300, 3)), RNG.integers(0, 2, (300, 3))
    fitted = task.fit_calibration(logits, labels, "both")
    calibrated = TASKS["multi_label"](SPACE, fitted)
    plain = TASKS["multi_label"](SPACE)
    assert (
        calibrated.compute_metrics(logits, labels)["f1_macro"]
        >= plain.compute_metrics(logits, labels)["f1_macro"]
    )
    for k in range(3):
        p = sigmoid(logits[:, k] / fitted.temperature)
        assert fitted.thresholds[k] == pytest.approx(best_threshold(p, labels[:, k]))


def test_ece_has_fifteen_bins():
    # 0.65 and 0.69 lie in different fifteenths: gaps 0.35 and 0.69; in one bin they would be 0.17 together.
    assert expected_calibration_error(np.array([0.65, 0.69]), np.array([1, 0])) == pytest.approx(
        (0.35 + 0.69) / 2
    )


def test_of_equally_good_thresholds_the_one_that_accepts_fewest():
    # One accepted of two true: F1 2/3; all four accepted: 4/6.
    assert best_threshold(np.array([0.9, 0.7, 0.5, 0.3]), np.array([1, 0, 0, 1])) == pytest.approx(
        0.8
    )


def test_thresholds_are_for_probabilities_at_the_temperature():
    task = TASKS["multi_label"](SPACE, Calibration(2.0, thresholds=(0.8, 0.7, 0.8)))
    logits = (
        2 * np.log(3) * np.array([1.0, 1.0, -1.0])
    )  # 3/4, 3/4, 1/4; without the temperature 0.9, 0.9, 0.1
    assert task.predictions(logits[None]).tolist() == [[0, 1, 0]]
    assert task.decode(logits) == {
        "labels": ["b"],
        "probabilities": {"a": 0.75, "b": 0.75, "c": 0.25},
    }


def test_aspects_are_answered_at_the_temperature():
    task = TASKS["multi_aspect"](
        LabelSpace.from_names(["x", "y"], ["a", "b", "c"]), Calibration(2.0)
    )
    answer = task.decode(2 * np.log(np.array([[5.0, 2.0, 1.0], [1.0, 1.0, 2.0]])))["aspects"]
    assert answer["x"] == {
        "label": "a",
        "score": 0.625,
        "probabilities": {"a": 0.625, "b": 0.25, "c": 0.125},
    }
    assert answer["y"] == {
        "label": "c",
        "score": 0.5,
        "probabilities": {"a": 0.25, "b": 0.25, "c": 0.5},
    }


@pytest.mark.parametrize("seed", range(3))
def test_bias_is_that_of_plain_coordinate_ascent(seed):
    """Each step judged on the decisions with all biases found so far."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, 200, p=[0.8, 0.15, 0.05])
    logits = generator.normal(size=(200, 3)) + np.eye(3)[labels] + np.array([1.5, 0, 0])
    bias, best = np.zeros(3), macro_f1(logits.argmax(axis=1), labels, 3)
    for k in [0, 1, 2] * 3:
        for step in np.linspace(-2, 2, 41):
            other = np.where(np.arange(3) == k, step, bias)
            score = macro_f1((logits + other).argmax(axis=1), labels, 3)
            if score > best + 1e-9:
                best, bias = score, other
    assert fit_bias(logits, labels) == pytest.approx(bias.tolist(), abs=1e-6)
