"""Splitting keeps every character; the four edits, by literal texts and by their properties."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.augment.sentence import (
    Splitter,
    can_delete,
    can_insert,
    delete_words,
    insert_word,
    replace_words,
    swap_words,
)

ENGLISH, CHINESE = Splitter("en"), Splitter("zh")
ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text("abc 12,.-'()\n我们吃饭很好，。！ab", max_size=40),
)


def words(splitter: Splitter, text: str) -> list[str]:
    return [word.text for word in splitter(text).words]


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT)
def test_splitting_loses_nothing(text):
    for splitter in (ENGLISH, CHINESE):
        sentence = splitter(text)
        assert sentence.text == text
        assert len(sentence.gaps) == len(sentence.words) + 1


def test_words():
    text = "It's a well-known fact (Smith et al., 2007) [12,22]: IscU/Isu1 wins!"
    assert words(ENGLISH, text) == [
        "It's",
        "a",
        "well-known",
        "fact",
        "Smith",
        "et",
        "al",
        "IscU",
        "wins",
    ]
    assert words(CHINESE, "这家餐厅的服务态度非常好，人均80元") == [
        *("这家", "餐厅", "的", "服务态度", "非常", "好", "人均", "元")
    ]


@pytest.mark.parametrize(
    "text, positions, expected",
    [
        ("The cat, black, sat.", [0], "cat, black, sat."),
        ("The cat, black, sat.", [1], "The, black, sat."),
        ("The cat, black, sat.", [2], "The cat, sat."),
        ("The cat, black, sat.", [3], "The cat, black, sat."),  # between a comma and the full stop
        ("say (yes) now", [1], "say (yes) now"),  # alone in brackets
        ("one two three", [0, 2], "two"),
        ("我很喜欢，你", [1], "我喜欢，你"),
    ],
)
def test_deletion_leaves_the_punctuation(text, positions, expected):
    splitter = CHINESE if "我" in text else ENGLISH
    assert delete_words(splitter(text), positions).text == expected


@pytest.mark.parametrize(
    "text, position, expected",
    [
        ("one, two", 0, "new one, two"),
        ("one, two", 1, "one new, two"),
        ("one, two.", 2, "one, two new."),
        ("我喜欢", 1, "我new喜欢"),
        ("喜欢 MY 店", 1, "喜欢new MY 店"),
        ("", 0, "new"),
    ],
)
def test_insertion(text, position, expected):
    splitter = CHINESE if "店" in text or "我" in text else ENGLISH
    assert insert_word(splitter(text), position, "new").text == expected


def test_nothing_is_put_between_words_that_are_tied():
    assert [can_insert(ENGLISH("and/or not"), k) for k in range(4)] == [True, False, True, True]
    assert (
        not can_delete(ENGLISH("and/or not"), 1)
        or delete_words(ENGLISH("and/or not"), [1]).text == "and/not"
    )


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT, st.integers(0, 1000), st.sampled_from(["en", "zh"]))
def test_edits_touch_words_alone(text, seed, language):
    """The other words stay in their order, and no gap holds anything that was in none before."""
    sentence = (ENGLISH if language == "en" else CHINESE)(text)
    generator, count = random.Random(seed), len(sentence.words)
    if count < 2:
        return
    first, second = generator.sample(range(count), 2)
    swapped = swap_words(sentence, first, second)
    assert swapped.gaps == sentence.gaps and swap_words(swapped, first, second) == sentence
    assert [w.text for w in replace_words(sentence, {first: "X"}).words].count("X") >= 1
    inserted = insert_word(sentence, first, "好")
    assert [w.text for w in inserted.words] == [w.text for w in (*sentence.words[:first],)] + [
        "好"
    ] + [w.text for w in sentence.words[first:]]
    deleted = delete_words(sentence, [first])
    expected = (
        sentence.words[:first] + sentence.words[first + 1 :]
        if can_delete(sentence, first)
        else sentence.words
    )
    assert deleted.words == expected
    assert len(deleted.gaps) == len(deleted.words) + 1
    assert set("".join(deleted.gaps)) <= set("".join(sentence.gaps))
