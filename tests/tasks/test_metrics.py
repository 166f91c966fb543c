"""Metrics: against literal values, and against scikit-learn on random arrays."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.metrics import F1, Accuracy, ExactMatch
from trainer_ext.tasks.multi_aspect import MultiAspect
from trainer_ext.tasks.single_label import SingleLabel


def logits_for(predictions: np.ndarray, classes: int) -> np.ndarray:
    """Logits whose largest is at the prediction."""
    noise = np.random.default_rng(0).uniform(size=(*predictions.shape, classes))
    return (noise + 5 * np.eye(classes)[predictions]).astype(np.float32)


def single(classes: int) -> SingleLabel:
    """A task with classes c0, c1, ..."""
    return SingleLabel(LabelSpace.from_names(["label"], [f"c{k}" for k in range(classes)]))


def aspects(columns: int, classes: int) -> MultiAspect:
    """A task with aspects a0, a1, ... and classes c0, c1, ..."""
    return MultiAspect(
        LabelSpace.from_names([f"a{k}" for k in range(columns)], [f"c{k}" for k in range(classes)])
    )


def test_accuracy_literal():
    """3 of 4."""
    assert Accuracy().compute(predictions=[0, 1, 2, 2], references=[0, 1, 1, 2]) == {
        "accuracy": 0.75
    }


def test_f1_literal():
    """By hand: c0 has tp 2, fp 1, fn 0; c1 tp 1, fp 0, fn 1; c2 tp 0, fp 1, fn 1."""
    scores = F1(["c0", "c1", "c2"]).compute(predictions=[0, 0, 0, 1, 2], references=[0, 0, 1, 1, 2])
    assert scores == pytest.approx(
        {"f1_macro": (0.8 + 2 / 3 + 1) / 3, "f1_c0": 0.8, "f1_c1": 2 / 3, "f1_c2": 1.0}
    )
    scores = F1(["c0", "c1", "c2"]).compute(predictions=[0, 0, 0, 1, 2], references=[0, 0, 1, 2, 1])
    assert scores == pytest.approx({"f1_macro": 0.8 / 3, "f1_c0": 0.8, "f1_c1": 0.0, "f1_c2": 0.0})


def test_f1_leaves_out_classes_that_do_not_occur():
    """A class in neither has no score and no part in the mean; one in the predictions only has 0."""
    scores = F1(["c0", "c1", "c2", "c3"]).compute(predictions=[0, 0, 3], references=[0, 0, 0])
    assert scores == pytest.approx({"f1_macro": 0.4, "f1_c0": 0.8, "f1_c3": 0.0})


def test_f1_of_a_class_called_macro():
    """It does not take the place of the mean."""
    assert F1(["macro", "x"]).compute(predictions=[0, 0, 1], references=[0, 1, 1])[
        "f1_macro"
    ] == pytest.approx(2 / 3)
    assert F1(["macro", "x"]).compute(predictions=[0, 0], references=[0, 1])[
        "f1_macro"
    ] == pytest.approx(1 / 3)


def test_exact_match_literal():
    """Every item of a row must be right."""
    predictions, references = [[0, 1], [1, 1], [2, 0], [0, 0]], [[0, 1], [1, 0], [2, 0], [1, 1]]
    assert ExactMatch().compute(predictions=predictions, references=references) == {
        "exact_match": 0.5
    }


@pytest.mark.parametrize("seed", range(5))
def test_single_label_against_sklearn(seed):
    """With classes missing from gold and prediction."""
    generator = np.random.default_rng(seed)
    labels, predictions = generator.choice([0, 1, 3, 4], 50), generator.choice([1, 2, 3, 4], 50)
    task = single(7)
    scores = task.compute_metrics(logits_for(predictions, 7), labels)
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, predictions))
    assert scores["f1_macro"] == pytest.approx(
        f1_score(labels, predictions, average="macro", zero_division=0)
    )
    by_class = f1_score(labels, predictions, average=None, labels=range(5), zero_division=0)
    assert [scores[f"f1_c{k}"] for k in range(5)] == pytest.approx(list(by_class))
    assert set(scores) == {"accuracy", "f1_macro", *(f"f1_c{k}" for k in range(5))}


@pytest.mark.parametrize("seed", range(3))
def test_multi_aspect_against_sklearn(seed):
    """Accuracy and macro-F1 are the means of those of the aspects."""
    generator = np.random.default_rng(seed)
    labels, predictions = generator.integers(0, 3, (40, 3)), generator.integers(1, 4, (40, 3))
    labels[:5] = predictions[:5]
    task = aspects(3, 4)
    scores = task.compute_metrics(logits_for(predictions, 4), labels)
    f1 = [
        f1_score(labels[:, k], predictions[:, k], average="macro", zero_division=0)
        for k in range(3)
    ]
    assert [scores[f"f1_macro_a{k}"] for k in range(3)] == pytest.approx(f1)
    assert scores["f1_macro"] == pytest.approx(np.mean(f1))
    assert scores["accuracy"] == pytest.approx(
        np.mean([accuracy_score(labels[:, k], predictions[:, k]) for k in range(3)])
    )
    assert scores["exact_match"] == pytest.approx((labels == predictions).all(axis=1).mean())
    assert scores["exact_match"] >= 5 / 40


@pytest.mark.parametrize("task, shape", [(single(3), (6,)), (aspects(2, 3), (6, 2))])
def test_all_right(task, shape):
    """Perfect predictions score 1 throughout, and every metric is a plain float."""
    labels = np.arange(np.prod(shape)).reshape(shape) % 3
    scores = task.compute_metrics(logits_for(labels, 3), labels)
    assert set(scores.values()) == {1.0}
    assert all(type(value) is float for value in scores.values())


@pytest.mark.parametrize("task, shape", [(single(3), (6,)), (aspects(2, 3), (6, 2))])
def test_metric_names_are_computed(task, shape):
    """What `metric_for_best_model` may name is there after every evaluation, whatever occurs in the rows."""
    labels = np.zeros(shape, dtype=np.int64)
    scores = task.compute_metrics(logits_for(labels, 3), labels)
    assert set(task.metric_names(task.label_space.columns)) <= set(scores)
    assert task.default_metric in scores


@pytest.mark.parametrize("name", TASKS)
def test_check_metric_takes(name):
    """With the Trainer's prefix or without; every task's own default."""
    for metric in (
        None,
        "loss",
        "eval_loss",
        TASKS[name].default_metric,
        f"eval_{TASKS[name].default_metric}",
    ):
        TASKS[name].check_metric(metric, ["a", "b"])


def test_check_metric_takes_an_aspect():
    """The macro-F1 of one aspect may choose the model."""
    MultiAspect.check_metric("eval_f1_macro_dish_taste", ["price", "dish_taste"])


def test_check_metric_names_the_nearest():
    """And all there are."""
    with pytest.raises(UserError) as caught:
        SingleLabel.check_metric("eval_f1_marco", ["label"])
    assert str(caught.value) == (
        "metric_for_best_model eval_f1_marco is not a metric of single_label; did you mean 'f1_macro'?; "
        "it has loss, accuracy, f1_macro"
    )
    with pytest.raises(UserError, match="did you mean 'f1_macro_dish_taste'"):
        MultiAspect.check_metric("f1_macro_dish_tast", ["price", "dish_taste"])
    with pytest.raises(UserError, match="single_label; it has"):
        SingleLabel.check_metric("exact_match", ["label"])
