"""Class weights against scikit-learn, the paper's formula and literal values; from training labels to terms."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.errors import UserError
from trainer_ext.objectives.build import build_objective
from trainer_ext.objectives.class_weights import class_weights, count_classes, positive_weights
from trainer_ext.tasks import TASKS, LabelSpace

LABELS = [0] * 6 + [1] * 3 + [2]


def task(name: str, columns: int = 1):
    names = ("a", "b", "c")
    return TASKS[name](LabelSpace(tuple(f"l{k}" for k in range(columns)), names, names))


def main_term(args: ObjectiveArguments, name: str, labels, columns: int = 1):
    return build_objective(args, task(name, columns), labels).terms[0][1]


def test_counts():
    labels = np.array([[0, 2], [0, 1], [2, -100]])
    assert count_classes(labels[:, 0], 3).tolist() == [2, 0, 1]
    assert count_classes(labels, 3).tolist() == [[2, 0, 1], [0, 1, 1]]


def test_balanced_equals_sklearn():
    labels = np.random.default_rng(0).choice(4, 100, p=[0.6, 0.3, 0.05, 0.05])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(class_weights(count_classes(labels, 4), "balanced"), expected)


def test_balanced_leaves_out_classes_that_do_not_occur_as_sklearn_does():
    labels = np.array(LABELS) * 2  # of six classes 0, 2 and 4 occur
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    weights = class_weights(count_classes(labels, 6), "balanced")
    np.testing.assert_allclose(weights[[0, 2, 4]], expected)
    assert weights[[1, 3, 5]].tolist() == [1, 1, 1]


def test_effective_is_equation_4():
    counts = np.array([5000, 100, 1])
    raw = np.array([0.001 / (1 - 0.999**n) for n in (5000, 100, 1)])
    np.testing.assert_allclose(class_weights(counts, "effective"), raw * 3 / raw.sum())


def test_effective_lies_between_no_weights_and_balanced():
    rare = class_weights(np.array([10000, 10]), "effective")
    assert 1 < rare[1] / rare[0] < 1000  # balanced: 1000


def test_positive_weights_are_negatives_over_positives():
    labels = np.array([[1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]])
    assert positive_weights(labels, "balanced").tolist() == [
        3,
        3,
        1,
        1,
    ]  # the last two have no second kind


def test_flags_become_weights_of_the_training_labels():
    for method in ("balanced", "effective"):
        expected = class_weights(np.array([6, 3, 1]), method)
        term = main_term(ObjectiveArguments(class_weights=[method]), "single_label", LABELS)
        np.testing.assert_allclose(term.class_weights, expected, rtol=1e-6)
        focal = main_term(
            ObjectiveArguments(focal_gamma=2, focal_alpha=[method]), "single_label", LABELS
        )
        np.testing.assert_allclose(focal.alpha, expected, rtol=1e-6)
    given = main_term(ObjectiveArguments(class_weights=["1", "2", "0.5"]), "single_label", LABELS)
    assert given.class_weights.tolist() == [1, 2, 0.5]
    assert (
        main_term(ObjectiveArguments(class_weights=["none"]), "single_label", LABELS).class_weights
        is None
    )


def test_each_aspect_has_its_own_weights():
    labels = np.array([[0, 2], [0, 2], [0, 1], [1, 1], [2, 0]])
    term = main_term(
        ObjectiveArguments(class_weights=["balanced"]), "multi_aspect", labels, columns=2
    )
    np.testing.assert_allclose(
        term.class_weights, [[5 / 9, 5 / 3, 5 / 3], [5 / 3, 5 / 6, 5 / 6]], rtol=1e-6
    )


def test_multi_label_weights_positives():
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]])
    bce = main_term(ObjectiveArguments(class_weights=["balanced"]), "multi_label", labels)
    assert bce.pos_weight.tolist() == [3, 3, 1]
    focal = main_term(
        ObjectiveArguments(focal_gamma=2, focal_alpha=["balanced"]), "multi_label", labels
    )
    torch.testing.assert_close(
        focal.alpha, torch.tensor([0.75, 0.75, 0.5])
    )  # alpha / (1 - alpha) = pos_weight


@pytest.mark.parametrize("args", [{"class_weights": ["1"]}, {"class_weights": ["1", "2"]}])
def test_one_weight_per_class(args):
    with pytest.raises(
        UserError, match=f"class_weights has {len(args['class_weights'])} values, but there are 3"
    ):
        main_term(ObjectiveArguments(**args), "single_label", LABELS)


def test_one_alpha_or_one_per_class():
    main_term(ObjectiveArguments(focal_gamma=2, focal_alpha=["0.25"]), "single_label", LABELS)
    with pytest.raises(UserError, match="focal_alpha has 2 values, but there are 3 classes"):
        main_term(ObjectiveArguments(focal_gamma=2, focal_alpha=["1", "2"]), "single_label", LABELS)
