"""Intent and slots: words of a text, metrics by hand, answers as the contract has them."""

from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_ext.errors import UserError
from trainer_ext.tasks.entities import entities
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import UNSEEN, JointLabelSpace
from trainer_ext.tasks.words import check_tokens, join_tokens, split_text

SPACE = JointLabelSpace.from_rows(
    ["play", "rate"], [["B-x", "I-x"], ["O", "B-y"]], [["some", "jazz"], ["a", "b"]]
)


def one_hot(indices: list[int], size: int) -> np.ndarray:
    return 4 * np.eye(size, dtype=np.float32)[indices]


def output(intent: int, tags: list[str]):
    """A row's output that predicts this."""
    return one_hot([intent], 2)[0], one_hot(
        [SPACE.tags.index(tag) for tag in tags], len(SPACE.tags)
    )


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("play some jazz", ["play", "some", "jazz"]),
        ("what's on at 10:30, then?", ["what's", "on", "at", "10:30", ",", "then", "?"]),
        ("rate u.s. hits 3.5!!", ["rate", "u.s", ".", "hits", "3.5", "!", "!"]),
        ("播放dj歌曲", ["播", "放", "dj", "歌", "曲"]),
        ('-blue & 12"', ["-blue", "&", '12"']),
        ("", []),
        (" \t ", []),
        ("...", [".", ".", "."]),
    ],
)
def test_words_of_a_text(text, words):
    assert split_text(text, by_character=False).words == words


def test_characters_of_a_text():
    found = split_text("放 la\u00a0歌", by_character=True)
    assert found.words == ["放", "l", "a", "歌"] and found.spans == ((0, 1), (2, 3), (3, 4), (5, 6))


@given(st.text(), st.booleans())
def test_no_character_but_blanks_is_lost(text, by_character):
    found = split_text(text, by_character)
    assert "".join("".join(found.words).split()) == "".join(text.split())
    assert list(found.spans) == sorted(found.spans)


@given(st.lists(st.text(min_size=1)), st.booleans())
def test_joined_tokens_come_back(tokens, by_character):
    found = join_tokens(tokens, by_character)
    assert found.words == tokens and found.given
    assert found.text == ("" if by_character else " ").join(tokens)


@pytest.mark.parametrize("value", ["a b", None, [1], ["a", None], {"a": 1}])
def test_tokens_must_be_a_list_of_texts(value):
    with pytest.raises(UserError, match="list of texts"):
        check_tokens(value)


def test_an_empty_token_is_refused_with_its_place():
    with pytest.raises(UserError, match="number 2 is empty"):
        check_tokens(["a", " ", "b"])


# --- label space ----------------------------------------------------------------------------------------------------


def test_outside_comes_first_and_the_space_travels_in_a_config():
    assert SPACE.classes == ("play", "rate") and SPACE.tags == ("O", "B-x", "B-y", "I-x")
    assert not SPACE.by_character
    assert JointLabelSpace.from_dict(SPACE.to_dict()) == SPACE
    characters = JointLabelSpace.from_rows(["a", "b"], [["B-x"]], [["歌"], ["u"]])
    assert characters.by_character and characters.tags == ("O", "B-x")
    assert JointLabelSpace.from_dict(characters.to_dict()) == characters


def test_unseen_labels_have_numbers_below_zero_that_another_task_reads_alike():
    task = Joint(SPACE)
    assert task.encode(["rate"]) == 1 and task.encode([" rate "]) == 1
    assert task.encode(["stop"]) <= UNSEEN
    encoded = task.encode_tags(["O", "I-z", "B-x", "I-z", "B-z"])
    assert encoded[0] == 0 and encoded[2] == 1 and encoded[1] == encoded[3] != encoded[4]
    assert max(encoded[1], encoded[4]) <= UNSEEN
    assert task.encode_tags(["E-x"])[0] <= UNSEEN and task.tag_names(task.encode_tags(["E-x"])) == [
        "E-x"
    ]
    outside, inside, known, again, begin = Joint(SPACE).tag_names(encoded)
    assert (outside, known, again) == ("O", "B-x", inside)
    assert inside[:2] == "I-" and begin == f"B-{inside[2:]}" and inside[2:] not in SPACE.slots
    assert entities([outside, inside, known, again, begin]) == [
        (1, 2, inside[2:]),
        (2, 3, "x"),
        (3, 4, inside[2:]),
        (4, 5, inside[2:]),
    ]


def test_the_number_of_an_unseen_label_is_the_same_in_every_process():
    """Written out: a number that changed would change the hash of rows, and the labels of cached tokens."""
    task = Joint(SPACE)
    assert task.encode(["stop"]) == UNSEEN - crc32(b"stop")
    # Slot number 0 is x; of the prefixes BIES, E is number 2.
    assert task.encode_tags(["E-x"]) == [UNSEEN - 2]
    assert task.encode_tags(["I-z"]) == [UNSEEN - (4 * (2 + crc32(b"z")) + 1)]


# --- metrics --------------------------------------------------------------------------------------------------------


def test_metrics_by_hand():
    """4 rows: all right; a slot missed; the intent wrong; labels that no training row has."""
    task = Joint(SPACE)
    predicted = [(0, ["B-x", "I-x", "O"]), (0, ["O", "O"]), (1, ["B-y"]), (1, ["B-y", "O"])]
    gold = [
        ("play", ["B-x", "I-x", "O"]),
        ("play", ["O", "B-y"]),
        ("play", ["B-y"]),
        ("stop", ["B-y", "B-new"]),
    ]
    labels = task.stack_labels(
        [(task.encode([intent]), task.encode_tags(tags)) for intent, tags in gold]
    )
    scores = task.compute_metrics(task.stack([output(*row) for row in predicted]), labels)
    # slots: 3 right, 3 predicted, 5 true
    assert scores == {
        "intent_accuracy": pytest.approx(2 / 4),
        "slot_f1": pytest.approx(2 * 3 / 8),
        "sentence_accuracy": pytest.approx(1 / 4),
    }
    assert set(scores) == set(Joint.metric_names([])) and Joint.default_metric in scores


def test_padded_positions_of_the_trainers_arrays_do_not_count():
    """(N, L, tags) with labels (N, L): special tokens, later pieces and padding are -100."""
    task = Joint(SPACE)
    tags = one_hot([3, 1, 3, 3, 3], 4)[None]
    labels = (np.array([0]), np.array([[-100, 1, 3, -100, -100]]))
    logits = (one_hot([0], 2), tags)
    assert task.compute_metrics(logits, labels)["sentence_accuracy"] == 1
    labels[1][0, 3] = 0
    assert task.compute_metrics(logits, labels)["sentence_accuracy"] == 0


def test_the_first_piece_of_a_word_speaks_for_it_and_a_cut_off_word_is_outside():
    task = Joint(SPACE)
    item = task.prepare(["seattle", "rocks", "hard"])
    tokens = one_hot([3, 1, 2, 3, 3], 4)
    encoding = SimpleNamespace(word_ids=[None, 0, 0, 1, None])  # the third word was cut off
    intent, tags = task.row_output(
        {"logits": one_hot([1], 2)[0], "token_logits": tokens}, encoding, item
    )
    assert tags.argmax(axis=-1).tolist() == [1, 3, 0] and not tags[2].any()
    assert task.decode((intent, tags))["tags"] == ["B-x", "I-x", "O"]


# --- answers --------------------------------------------------------------------------------------------------------


def test_answer_for_a_text():
    task = Joint(SPACE)
    item = task.prepare("play  miles davis, loud")
    answer = task.answer(item, output(0, ["O", "B-x", "I-x", "O", "B-y"]))
    assert answer == {
        "text": "play  miles davis, loud",
        "intent": "play",
        "intent_score": pytest.approx(np.exp(4) / (np.exp(4) + 1), abs=1e-6),
        "slots": [
            {"slot": "x", "text": "miles davis", "start": 6, "end": 17},
            {"slot": "y", "text": "loud", "start": 19, "end": 23},
        ],
    }


def test_answer_for_tokens_has_a_tag_for_each():
    task = Joint(SPACE)
    answer = task.answer(task.prepare(["play", "jazz"]), output(1, ["O", "B-x"]))
    assert answer["tags"] == ["O", "B-x"] and answer["text"] == "play jazz"
    assert answer["slots"] == [{"slot": "x", "text": "jazz", "start": 5, "end": 9}]
    assert list(answer) == ["text", "intent", "intent_score", "slots", "tags"]


def test_outputs_of_no_rows():
    task = Joint(SPACE)
    intents, tags = task.stack([])
    assert intents.shape == (0, 2) and tags == []


def test_predictions_and_logits_in_one_axis_hold_both_heads():
    task = Joint(SPACE)
    logits = task.stack([output(1, ["O", "B-x"]), output(0, ["B-y"])])
    assert task.predictions(logits).tolist() == [1, 0, 0, 1, 2]
    assert task.flat(logits).shape == (2 * 2 + 3 * 4,)
