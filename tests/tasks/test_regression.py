"""Regression: finite numbers only, metrics against NumPy, SciPy and literal values, answers."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import label_space, texts_and_labels
from trainer_ext.errors import UserError
from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.regression import Regression

TASK = Regression(LabelSpace(("cohesion", "syntax"), (), ()))


def rows(*labels) -> list[Row]:
    return [
        Row({"text": "t", "cohesion": one, "syntax": other}, f"e.csv, row {k}")
        for k, (one, other) in enumerate(labels, 1)
    ]


def test_targets_are_the_columns():
    space = label_space(rows(("1", "2")), ["cohesion", "syntax"], None, Regression)
    assert space == TASK.label_space and LabelSpace.from_dict(space.to_dict()) == space
    assert TASK.head_shape == (2,)
    with pytest.raises(
        UserError, match=r"label_names \['a'\] name classes, but regression has none"
    ):
        label_space([], ["cohesion"], ["a"], Regression)


def test_encode():
    assert texts_and_labels(rows(("3.5", " -1e2 "), (4, 0)), "text", TASK)[1] == [
        [3.5, -100.0],
        [4.0, 0.0],
    ]


@pytest.mark.parametrize(
    "value", ["good", "inf", "-Infinity", "1,5", "True", float("inf"), "3.5.1"]
)
def test_no_finite_number_is_refused_with_file_row_and_value(value):
    with pytest.raises(UserError, match="e.csv, row 2: column 'syntax' has ") as caught:
        texts_and_labels(rows((1, 2), (3, value)), "text", TASK)
    assert repr(str(value)) in str(caught.value) and "expected a finite number" in str(caught.value)


@pytest.mark.parametrize("value", ["", None, float("nan")])
def test_a_missing_target_is_refused(value):
    with pytest.raises(UserError, match="e.csv, row 1: the label in column 'syntax' is missing"):
        texts_and_labels(rows((1, value)), "text", TASK)


def test_metrics_literal_and_against_scipy():
    labels, scores = np.array([[0.0, 0.0], [4.0, 1.0]]), np.array([[3.0, 1.0], [0.0, 2.0]])
    metrics = TASK.compute_metrics(scores, labels)
    assert metrics["rmse_cohesion"] == pytest.approx(12.5**0.5) and metrics[
        "rmse_syntax"
    ] == pytest.approx(1)
    assert metrics["mcrmse"] == pytest.approx((12.5**0.5 + 1) / 2)
    assert metrics["pearson"] == pytest.approx(0)  # -1 and 1
    generator = np.random.default_rng(0)
    labels = generator.normal(size=(30, 2))
    scores = labels + generator.normal(size=(30, 2))
    expected = np.mean([pearsonr(labels[:, k], scores[:, k]).statistic for k in range(2)])
    assert TASK.compute_metrics(scores, labels)["pearson"] == pytest.approx(expected)


def test_constant_scores_have_no_correlation():
    assert TASK.compute_metrics(np.ones((5, 2)), np.arange(10.0).reshape(5, 2))["pearson"] == 0
    assert TASK.compute_metrics(np.full((7, 2), 0.1), np.full((7, 2), 1.1))["pearson"] == 0, (
        "means are rounded"
    )


def test_decode_gives_plain_floats():
    answer = TASK.decode(np.array([3.125, -0.5], dtype=np.float32))
    assert answer == {"scores": {"cohesion": 3.125, "syntax": -0.5}}
    assert {type(score) for score in answer["scores"].values()} == {float}


def test_agreement_is_within_one_percent():
    reference = np.array([[3.0, 100.0], [0.0, -2.0]])
    off = [[0.029, 1.1], [0.0009, 0.1]]
    for unit in (1e-4, 1, 1e4):
        assert TASK.agreement(unit * (reference + off), unit * reference) == 0.5


def test_head_starts_at_mean_and_spread_of_the_training_labels():
    scale = TASK.head_scale([[1, 7], [3, 7]])
    assert scale == {
        "logit_mean": [2.0, 7.0],
        "logit_scale": [1.0, 1.0],
    }  # a constant target keeps 1


def test_numbers_in_txt():
    assert [TASK.is_label(text) for text in ("3.5", "-1", "nan", "good", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]
