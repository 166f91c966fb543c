"""Multi-label: what a file may hold, metrics against scikit-learn, answers."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import label_space, texts_and_labels
from trainer_ext.errors import UserError
from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.activations import sigmoid
from trainer_ext.tasks.multi_label import MultiLabel

TASK = MultiLabel(LabelSpace.from_names(["labels"], ["joy", "fear", "love, deep"]))


def rows(*labels) -> list[Row]:
    return [
        Row({"text": "t", "labels": value}, f"a.jsonl, row {k}")
        for k, value in enumerate(labels, 1)
    ]


@pytest.mark.parametrize(
    "value, expected",
    [
        (["joy", "love, deep"], [1, 0, 1]),
        ([0, 1], [1, 1, 0]),
        ([], [0, 0, 0]),
        ("", [0, 0, 0]),
        ("joy", [1, 0, 0]),
        ("fear, joy,fear", [1, 1, 0]),
        ("0,2", [1, 0, 1]),
        ("love, deep", [0, 0, 1]),  # a name that holds the separator
        ('["joy", "love, deep"]', [1, 0, 1]),
        ("[]", [0, 0, 0]),
    ],
)
def test_encode(value, expected):
    assert texts_and_labels(rows(value), "text", TASK) == (["t"], [expected])


@pytest.mark.parametrize("value, bad", [("joy,hope", "hope"), (["anger"], "anger"), ("0,3", "3")])
def test_unknown_labels_are_refused_with_row_and_value(value, bad):
    with pytest.raises(
        UserError,
        match=f"a.jsonl, row 2: column 'labels' has the unknown label '{bad}'; expected one",
    ):
        texts_and_labels(rows("joy", value), "text", TASK)


def test_a_missing_list_is_not_an_empty_one():
    with pytest.raises(UserError, match="a.jsonl, row 1: the label in column 'labels' is missing"):
        texts_and_labels(rows(None), "text", TASK)


def test_classes_from_the_training_rows():
    space = label_space(rows(["b", "a"], [], ["c"]), ["labels"], None, MultiLabel)
    assert space.classes == ("a", "b", "c")
    assert label_space(rows("10,2", "", "3"), ["labels"], None, MultiLabel).classes == (
        "2",
        "3",
        "10",
    )


def test_separator_is_stored_only_where_it_is_unusual():
    space = label_space(rows("a;b", "c"), ["labels"], None, MultiLabel, ";")
    assert space.classes == ("a", "b", "c") and space.to_dict()["separator"] == ";"
    assert LabelSpace.from_dict(space.to_dict()) == space
    assert MultiLabel(space).encode(["c; a"]) == [1, 0, 1]
    assert "separator" not in TASK.label_space.to_dict()


def test_a_column_per_class():
    space = label_space([], ["toxic", "rude"], None, MultiLabel)
    task = MultiLabel(space)
    assert space.classes == ("toxic", "rude") and task.head_shape == (2,)
    data = [Row({"text": "t", "toxic": "1.0", "rude": "false"}, "a.csv, row 1")]
    assert texts_and_labels(data, "text", task)[1] == [[1, 0]]
    renamed = label_space([], ["toxic", "rude"], ["giftig", "grob"], MultiLabel)
    assert renamed.classes == ("giftig", "grob") and renamed.columns == ("toxic", "rude")
    with pytest.raises(UserError, match="label_names gives 1 names for 2 label columns"):
        label_space([], ["toxic", "rude"], ["x"], MultiLabel)
    for value in ("2", "", "yes"):
        bad = [Row({"text": "t", "toxic": value, "rude": "0"}, "a.csv, row 7")]
        with pytest.raises(
            UserError, match=f"a.csv, row 7: column 'toxic' has '{value}'; expected 0 or 1"
        ):
            texts_and_labels(bad, "text", task)


def test_labels_in_txt():
    assert [TASK.is_label(text) for text in ("joy", "0,1", "", "joy,hope", "3")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_metrics_against_sklearn():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (50, 3))
    labels[:, 2] = 0  # no positives: no ROC, F1 0
    logits = (generator.normal(size=(50, 3)) + labels).astype(np.float32)
    scores, predicted = TASK.compute_metrics(logits, labels), logits > 0
    for average in ("micro", "macro"):
        expected = f1_score(labels, predicted, average=average, zero_division=0)
        assert scores[f"f1_{average}"] == pytest.approx(expected)
    assert scores["f1_joy"] == pytest.approx(f1_score(labels[:, 0], predicted[:, 0]))
    assert scores["exact_match"] == pytest.approx((labels == predicted).all(axis=1).mean())
    assert scores["roc_auc_macro"] == pytest.approx(
        roc_auc_score(labels[:, :2], logits[:, :2], average="macro")
    )
    assert set(TASK.metric_names(["labels"])) <= set(scores)
    assert TASK.compute_metrics(logits, np.zeros_like(labels))["roc_auc_macro"] == 0.5


def test_a_class_that_every_row_has_is_no_part_of_the_roc():
    labels = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0]])
    logits = np.array([[2.0, 3.0, 1.0], [1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
    assert TASK.compute_metrics(logits, labels)["roc_auc_macro"] == 1


def test_decode():
    logits = np.array([np.log(3), -np.log(3), 0], dtype=np.float32)  # 3/4, 1/4, exactly 1/2
    answer = TASK.decode(logits)
    assert answer == {
        "labels": ["joy"],
        "probabilities": {"joy": 0.75, "fear": 0.25, "love, deep": 0.5},
    }
    assert {type(p) for p in answer["probabilities"].values()} == {float}
    assert TASK.decode(-np.ones(3))["labels"] == []


def test_sigmoid_of_any_size():
    values = sigmoid(np.array([-1e30, -800, 0, 800, 1e30], dtype=np.float32))
    assert values.tolist() == [0, 0, 0.5, 1, 1]
