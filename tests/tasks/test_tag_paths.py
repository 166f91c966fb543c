"""Sequences of tags: what may follow what, and the best path against every path."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.tasks.joint import Joint, JointLabelSpace
from trainer_ext.tasks.tag_paths import allowed_pairs, best_path, follows, irregular_pairs, neighbours

BIO = ("O", "B-a", "I-a", "B-b", "I-b")
BIOES = ("O", "B-a", "I-a", "E-a", "S-a")


@pytest.mark.parametrize(
    "before, tag, bio, bioes",
    [
        ("O", "O", True, True),
        ("O", "I-a", False, False),
        ("O", "B-a", True, True),
        ("B-a", "I-a", True, True),
        ("I-a", "I-a", True, True),
        ("B-b", "I-a", False, False),
        ("B-a", "O", True, False),
        ("B-a", "B-b", True, False),
        ("I-a", "E-a", True, True),
        ("E-a", "I-a", False, False),
        ("S-a", "E-a", False, False),
        ("S-a", "B-a", True, True),
        ("E-a", "O", True, True),
    ],
)
def test_what_may_follow(before, tag, bio, bioes):
    assert (follows(before, tag, False), follows(before, tag, True)) == (bio, bioes)


@pytest.mark.parametrize(
    "rows, irregular",
    [
        ([["O", "B-a", "I-a"], ["B-a", "B-b", "O"]], []),
        ([["I-a", "I-a", "B-a"]], [("O", "I-a")]),  # IOB1
        ([["B-a", "I-b"], ["O", "I-a"]], [("B-a", "I-b"), ("O", "I-a")]),
        ([["B-a", "E-a"], ["S-b", "O"]], []),
        ([["B-a", "O"], ["S-b", "B-a"]], [("B-a", "O")]),  # an open slot at the end counts as well
        ([[]], []),
    ],
)
def test_neighbours_that_break_the_scheme(rows, irregular):
    assert irregular_pairs(neighbours(rows)) == irregular


@settings(deadline=None)
@given(
    st.sampled_from([BIO, BIOES]),
    st.lists(st.tuples(st.sampled_from(BIO), st.sampled_from(BIO)), max_size=2),
    st.lists(st.lists(st.integers(-9, 9), min_size=5, max_size=5), min_size=1, max_size=4),
)
def test_the_best_path_is_the_best_of_all(tags, irregular, scores):
    """Against every allowed sequence of up to four words."""
    scores, allowed = np.array(scores, dtype=np.float32), allowed_pairs(tags, irregular)
    every = [p for p in product(range(5), repeat=len(scores)) if all(allowed[a, b] for a, b in pairwise([0, *p, 0]))]
    path = best_path(scores, allowed)
    assert tuple(path) in every
    assert scores[range(len(path)), path].sum() == max(scores[range(len(p)), p].sum() for p in every)


def task(rows: list[list[str]]) -> Joint:
    return Joint(JointLabelSpace.from_rows(["x", "y"], rows, [["some", "words"]]))


def test_predictions_keep_to_the_scheme():
    """`I-a` first scores best, but cannot stand there: the next best is `O B-a`, not `B-a I-a`."""
    joint = task([["O", "B-a", "I-a"]])
    assert joint.label_space.tags == ("O", "B-a", "I-a")
    scores = np.array([[2.0, 0.0, 3.0], [0.0, 3.0, 2.9]], dtype=np.float32)
    assert joint.best_tags(scores).tolist() == [0, 1]
    assert joint.decode((np.array([1.0, 0.0]), scores))["tags"] == ["O", "B-a"]
    assert joint.predictions((np.array([[1.0, 0.0]]), [scores])).tolist() == [0, 0, 1]
    metrics = joint.compute_metrics((np.array([[1.0, 0.0]]), [scores]), (np.array([0]), [np.array([0, 1])]))
    assert metrics == {"intent_accuracy": 1.0, "slot_f1": 1.0, "sentence_accuracy": 1.0}


def test_what_training_rows_have_is_allowed():
    """The tags of IOB1 begin slots with I; the pairs travel with the label space."""
    joint = task([["I-a", "B-a", "O"]])
    assert joint.label_space.irregular == ("O I-a",)
    again = Joint(JointLabelSpace.from_dict(joint.label_space.to_dict()))
    assert again.best_tags(np.array([[2.0, 0.0, 3.0]])).tolist() == [2]


def test_words_that_were_cut_off_are_outside():
    """They neither force a slot to end, nor are forced to end one."""
    joint = task([["B-a", "I-a", "E-a", "S-a", "O"]])
    tags = joint.label_space.tags
    scores = np.zeros((4, 5), dtype=np.float32)
    scores[0, tags.index("S-a")] = 3
    assert joint.tag_names(joint.best_tags(scores)) == ["S-a", "O", "O", "O"]
    scores[0, tags.index("B-a")] = 4
    assert joint.tag_names(joint.best_tags(scores)) == ["S-a", "O", "O", "O"]
    assert joint.best_tags(scores[1:]).tolist() == [0, 0, 0] and joint.best_tags(scores[:0]).tolist() == []
