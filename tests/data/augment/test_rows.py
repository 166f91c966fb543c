"""Rows of tokens and slots: no edit cuts, moves or changes a slot, whatever the tags and the tokens are."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.augment.eda import OPERATIONS
from trainer_ext.data.augment.rows import JointRows, TextRows, slot_texts
from trainer_ext.data.augment.sentence import Splitter
from trainer_ext.data.augment.thesaurus import own_thesaurus
from trainer_ext.data.io.readers import Row
from trainer_ext.errors import UserError

ROWS = {language: JointRows(Splitter(language)) for language in ("en", "zh")}
THESAURI = {language: own_thesaurus(language) for language in ("en", "zh")}
WORDS = {
    "en": ["play", "the", "song", "big", "3", "!", "find", "o'clock"],
    "zh": list("我想听播放不错的歌，很好3a"),
}
BIO = ["O", "O", "O", "B-a", "I-a", "B-b", "I-b"]
BIOES = ["O", "O", "B-a", "I-a", "E-a", "S-a", "S-b"]


@st.composite
def joint_rows(draw):
    """(language, values): also ill-formed tags, as corpora have them."""
    language, names = draw(st.sampled_from(["en", "zh"])), draw(st.sampled_from([BIO, BIOES]))
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(WORDS[language]), st.sampled_from(names)),
            min_size=1,
            max_size=12,
        )
    )
    tokens, tags = map(list, zip(*pairs, strict=True))
    return language, {"tokens": tokens, "slots": tags, "intent": "x", "text": "?", "session": 3}


def well_formed(tags: list[str]) -> bool:
    """Every I follows a B or an I of its name."""
    return all(
        tag[0] != "I" or before in (f"B{tag[1:]}", tag)
        for before, tag in zip(["O", *tags], tags, strict=False)
    )


@settings(max_examples=250, deadline=None)
@given(
    joint_rows(),
    st.sampled_from(list(OPERATIONS)),
    st.integers(0, 9999),
    st.sampled_from([0.1, 0.5, 1.0]),
)
def test_slots_stay_whole(case, operation, seed, alpha):
    language, values = case
    rows, row = ROWS[language], Row(values, "f")
    sentence = rows.sentence(row)
    assert rows.values(row, sentence) == {
        **values,
        "text": ("" if language == "zh" else " ").join(values["tokens"]),
    }
    edited = OPERATIONS[operation](sentence, alpha, random.Random(seed), THESAURI[language])
    new = rows.values(row, edited)
    if new is None:  # two slots would have become one
        return
    assert len(new["tokens"]) == len(new["slots"]) and all(token.strip() for token in new["tokens"])
    assert slot_texts(new["tokens"], new["slots"]) == slot_texts(values["tokens"], values["slots"])
    assert well_formed(new["slots"]) or not well_formed(values["slots"])
    assert (new["intent"], new["session"]) == ("x", 3)
    if language == "zh":
        assert all(len(token) == 1 for token in new["tokens"])


def test_an_edit_that_would_join_two_slots_is_dropped():
    """Where tags are IOB1 the word between two slots is all that parts them."""
    row = Row({"tokens": ["a", "or", "b"], "slots": ["I-x", "O", "I-x"], "intent": "i"}, "f")
    sentence = ROWS["en"].sentence(row)
    deleted = OPERATIONS["random_deletion"](sentence, 1.0, random.Random(0), THESAURI["en"])
    assert [word.text for word in deleted.words] == ["a", "b"]
    assert ROWS["en"].values(row, deleted) is None


def test_chinese_characters_become_words_and_characters_again():
    tokens = list("我想听周杰伦的歌hello")
    row = Row(
        {"tokens": tokens, "slots": ["O"] * 3 + ["B-s", "I-s", "I-s"] + ["O"] * 7, "intent": "i"},
        "f",
    )
    sentence = ROWS["zh"].sentence(row)
    assert [word.text for word in sentence.words] == [
        "我",
        "想",
        "听",
        "周 杰 伦",
        "的",
        "歌",
        "hello",
    ]
    assert [word.free for word in sentence.words] == [True, True, True, False, True, True, True]
    assert ROWS["zh"].values(row, sentence) == row.values


def test_words_of_several_characters_are_tokens():
    """Chinese rows that come as words stay words."""
    values = {"tokens": ["我", "喜欢", "你"], "slots": ["O"] * 3, "intent": "i"}
    sentence = ROWS["zh"].sentence(Row(values, "f"))
    assert [word.text for word in sentence.words] == values["tokens"]
    assert ROWS["zh"].values(Row(values, "f"), sentence) == values


def test_texts_and_their_labels():
    rows, row = (
        TextRows(Splitter("en"), "body"),
        Row({"body": " a b ", "labels": ["x", "y"], "score": 2.5}, "f, row 1"),
    )
    assert rows.values(row, rows.sentence(row)) == {
        "body": "a b",
        "labels": ["x", "y"],
        "score": 2.5,
    }
    with pytest.raises(UserError, match="f, row 1: column 'text' must hold text, got None"):
        TextRows(Splitter("en"), "text").text(row)
