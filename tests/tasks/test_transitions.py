"""Sequences of tags: what may follow what, and the best path against every path."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.io.readers import Row
from trainer_ext.data.joint import counted_in
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.tasks.transitions import (
    FORBIDDEN,
    WEIGHT,
    allowed_pairs,
    best_path,
    follows,
    neighbours,
    transition_scores,
)

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


def test_neighbours_are_counted_with_both_ends():
    rows = [["O", "B-a", "I-a"], ["B-a", "I-a"], []]
    expected = {("O", "O"): 2, ("O", "B-a"): 2, ("B-a", "I-a"): 2, ("I-a", "O"): 2}
    assert neighbours(rows) == expected


@pytest.mark.parametrize(
    "tags, rows, before, tag, allowed",
    [
        (BIO, [], "O", "I-a", False),
        (BIO, [["I-a", "I-a", "B-a"]], "O", "I-a", True),  # IOB1
        (BIO, [["I-a", "I-a", "B-a"]], "O", "I-b", False),
        (BIO, [["B-a", "I-b"]], "B-a", "I-b", True),
        (BIOES, [["S-a"]], "B-a", "O", False),
        (BIOES, [["B-a"]], "B-a", "O", True),  # an open slot at the end counts as well
    ],
)
def test_what_training_rows_allow(tags, rows, before, tag, allowed):
    assert allowed_pairs(tags, neighbours(rows))[tags.index(before), tags.index(tag)] == allowed


def test_transition_scores_by_hand():
    """After `O` (4 times: 3 O, 1 B-a) and B-a (once, then I-a); I-a (then O once)."""
    scores = transition_scores(("O", "B-a", "I-a"), neighbours([["O", "O", "B-a", "I-a"], []]))
    often = np.array([4 + 1, 1 + 1, 1 + 1]) / (
        6 + 3
    )  # counts of what stands second, one more for each
    after_outside = np.log((np.array([3, 1, 0]) + often) / 5) * WEIGHT
    assert scores[0, :2] == pytest.approx(after_outside[:2]) and scores[0, 2] == FORBIDDEN
    assert scores[1] == pytest.approx(np.log((np.array([0, 0, 1]) + often) / 2) * WEIGHT)


def test_what_was_never_counted_prefers_nothing():
    """All that the scheme allows has one score."""
    scores = transition_scores(BIO, {})
    assert len(set(scores[scores > FORBIDDEN])) == 1


@settings(deadline=None)
@given(
    st.sampled_from([BIO, BIOES]),
    st.lists(st.lists(st.sampled_from(BIO), max_size=4), max_size=3),
    st.lists(st.lists(st.integers(-9, 9), min_size=5, max_size=5), min_size=1, max_size=4),
)
def test_the_best_path_is_the_best_of_all(tags, rows, scores):
    """Against every sequence of up to four words."""
    scores, transitions = (
        np.array(scores, dtype=np.float32),
        transition_scores(tags, neighbours(rows)),
    )

    seen = [True, *(np.ptp(scores, axis=-1) > 0), True]
    free = np.where(transitions > FORBIDDEN, 0, FORBIDDEN)
    used = [transitions if one and other else free for one, other in pairwise(seen)]
    used[-1] = transitions  # words that were cut off are not in the path

    def total(path):
        pairs = zip(used, pairwise([0, *path, 0]), strict=True)
        return scores[range(len(path)), list(path)].sum() + sum(
            table[pair] for table, pair in pairs
        )

    path = best_path(scores, transitions)
    assert total(path) == pytest.approx(
        max(map(total, product(range(5), repeat=len(scores)))), abs=0.05
    )
    assert total(path) > FORBIDDEN / 2


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
    metrics = joint.compute_metrics(
        (np.array([[1.0, 0.0]]), [scores]), (np.array([0]), [np.array([0, 1])])
    )
    assert metrics == {"intent_accuracy": 1.0, "slot_f1": 1.0, "sentence_accuracy": 1.0}


def test_what_training_rows_have_is_allowed():
    """The tags of IOB1 begin slots with I; the pairs travel with the label space."""
    joint = task([["I-a", "B-a", "O"]])
    assert ("O", "I-a", 1) in joint.label_space.neighbours
    again = Joint(JointLabelSpace.from_dict(joint.label_space.to_dict()))
    assert again.best_tags(np.array([[2.0, 0.0, 3.0]])).tolist() == [2]


def test_a_fold_counts_its_own_rows():
    """The tags stay those of all rows."""
    whole = task([["B-a", "I-a"], ["O", "O"]])
    rows = [Row({"tokens": ["x", "y"], "slots": ["O", "B-a"], "intent": "x"}, "row 1")]
    space = counted_in(whole, rows).label_space
    assert space.tags == whole.label_space.tags == ("O", "B-a", "I-a")
    assert space.neighbours == (("B-a", "O", 1), ("O", "B-a", 1), ("O", "O", 1))


def test_of_two_tags_with_equal_scores_the_more_usual_one_wins():
    """After `B-a` training rows go on three times of four."""
    joint = task([["B-a", "I-a"]] * 3 + [["B-a", "O"]])
    scores = np.array([[0.0, 5.0, 0.0], [1.0, 0.0, 1.0]], dtype=np.float32)
    assert joint.tag_names(joint.best_tags(scores)) == ["B-a", "I-a"]
    surer = scores + np.array([[0, 0, 0], [2, 0, 0]])
    assert joint.tag_names(joint.best_tags(surer)) == ["B-a", "O"]


def test_a_word_without_a_token_is_outside_unless_a_slot_goes_on_behind_it():
    joint = task([["B-a", "I-a", "I-a"]] * 9 + [["O", "O", "O"]])
    first, last = [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]
    assert joint.tag_names(joint.best_tags(np.array([first, [0.0] * 3, first]))) == [
        "B-a",
        "O",
        "B-a",
    ]
    assert joint.tag_names(joint.best_tags(np.array([first, [0.0] * 3, last]))) == [
        "B-a",
        "I-a",
        "I-a",
    ]


def test_words_that_were_cut_off_are_outside():
    """They neither force a slot to end, nor are forced to end one."""
    joint = task([["B-a", "I-a", "E-a", "S-a", "O"]])
    tags = joint.label_space.tags
    scores = np.zeros((4, 5), dtype=np.float32)
    scores[0, tags.index("S-a")] = 3
    assert joint.tag_names(joint.best_tags(scores)) == ["S-a", "O", "O", "O"]
    scores[0, tags.index("B-a")] = 4
    assert joint.tag_names(joint.best_tags(scores)) == ["S-a", "O", "O", "O"]
    assert (
        joint.best_tags(scores[1:]).tolist() == [0, 0, 0]
        and joint.best_tags(scores[:0]).tolist() == []
    )
