"""Each operation of EDA against what the paper says it does."""

import random
from collections import Counter

import pytest

from trainer_ext.data.augment.eda import EDA, OPERATIONS, times
from trainer_ext.data.augment.sentence import Sentence, Splitter, Word
from trainer_ext.data.augment.thesaurus import Thesaurus

SPLIT = Splitter("en")
THESAURUS = Thesaurus([["big", "large"], ["cat", "feline"]])
TEXT = "the big cat saw a big dog near one tree"  # ten words


def many(operation: str, alpha: float, text: str = TEXT, count: int = 300) -> list[str]:
    edit = OPERATIONS[operation]
    return [edit(SPLIT(text), alpha, random.Random(k), THESAURUS).text for k in range(count)]


@pytest.mark.parametrize("alpha, expected", [(0.0, 1), (0.1, 1), (0.29, 2), (0.3, 3), (1.0, 10)])
def test_n_is_alpha_l_and_at_least_one(alpha, expected):
    assert times(SPLIT(TEXT), alpha) == expected


def test_synonym_replacement():
    assert set(many("synonym_replacement", 0.1)) == {
        "the large cat saw a big dog near one tree",
        "the big feline saw a big dog near one tree",
        "the big cat saw a large dog near one tree",
    }
    assert set(many("synonym_replacement", 1)) == {"the large feline saw a large dog near one tree"}
    assert set(many("synonym_replacement", 1, "no such words")) == {"no such words"}


def test_random_insertion():
    """A synonym of one of the words, anywhere; n of them."""
    texts = many("random_insertion", 0.2)
    for text in texts:
        extra = Counter(text.split()) - Counter(TEXT.split())
        assert extra.total() == 2 and set(extra) <= {"large", "feline"}
        assert [w for w in text.split() if w not in ("large", "feline")] == TEXT.split()
    assert {text.split().index("large") for text in texts if "large" in text.split()} == set(
        range(12)
    )
    assert set(many("random_insertion", 0.2, "no such words")) == {"no such words"}


def test_random_swap():
    texts = many("random_swap", 0.1)
    for text in texts:
        moved = [
            k for k, (a, b) in enumerate(zip(TEXT.split(), text.split(), strict=True)) if a != b
        ]
        assert len(moved) in (0, 2)  # none: `big` with `big`
        assert Counter(text.split()) == Counter(TEXT.split())
    assert len(set(texts)) > 35  # of 44
    assert set(many("random_swap", 1, "alone")) == {"alone"}


def test_random_deletion():
    texts = many("random_deletion", 0.3, count=2000)
    kept = sum(len(text.split()) for text in texts) / 2000
    assert kept == pytest.approx(7, abs=0.15)  # the mean of a binomial; 4.6 standard errors
    for text in many("random_deletion", 1.0):
        assert len(text.split()) == 1
    assert all(it_is_a_part(text) for text in texts)


def it_is_a_part(text: str) -> bool:
    left = iter(TEXT.split())
    return all(word in left for word in text.split())


def test_words_that_are_not_free_stay():
    words = (Word("big", free=False), Word("cat"), Word("big", free=False))
    sentence = Sentence(words, ("", " ", " ", ""))
    for operation in OPERATIONS.values():
        for seed in range(50):
            text = operation(sentence, 1.0, random.Random(seed), THESAURUS).text
            assert [w for w in text.split() if w == "big"] == ["big", "big"]


def test_operations_at_alpha_0_are_off():
    eda = EDA(THESAURUS, dict.fromkeys(OPERATIONS, 0.0) | {"random_swap": 0.1})
    proposals = eda.propose([SPLIT(TEXT)] * 20, [random.Random(k) for k in range(20)], 1)
    assert {name for _, name in proposals} == {"random_swap"}
    assert proposals == eda.propose([SPLIT(TEXT)] * 20, [random.Random(k) for k in range(20)], 1)
