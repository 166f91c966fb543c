"""Thesaurus files: literal groups, what is refused, and the two that come with the package."""

import random

import pytest

from trainer_ext.data.augment.thesaurus import Thesaurus, match_case, own_thesaurus, read_thesaurus
from trainer_ext.errors import UserError

GENERATOR = random.Random(0)


def test_groups(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(
        "\ufeff# ours\nquick, fast,rapid  # speed\n\nfast, firm\n不错，挺  好\n", encoding="utf-8"
    )
    assert read_thesaurus(str(path)).synonyms == {
        "quick": ["fast", "rapid"],
        "fast": ["quick", "rapid", "firm"],
        "rapid": ["quick", "fast"],
        "firm": ["fast"],
        "不错": ["挺 好"],
        "挺 好": ["不错"],
    }


@pytest.mark.parametrize("line", ["alone", "a,,b", "a, b,"])
def test_a_malformed_line_is_named(tmp_path, line):
    path = tmp_path / "t.txt"
    path.write_text(f"a, b\n{line}\n")
    with pytest.raises(UserError, match=f"t.txt, line 2: expected two entries or more.*{line}"):
        read_thesaurus(str(path))


@pytest.mark.parametrize(
    "content, message", [(b"# nothing\n", "has no synonyms"), (b"\xff\xfe", "UTF-8")]
)
def test_a_file_without_groups(tmp_path, content, message):
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_thesaurus(str(path))
    with pytest.raises(UserError, match="does not exist"):
        read_thesaurus(str(tmp_path / "none.txt"))


def test_case_and_articles():
    thesaurus = Thesaurus([["old", "aged", "former"]])
    assert {thesaurus.pick("Old", GENERATOR) for _ in range(20)} == {"Aged", "Former"}
    assert {thesaurus.pick("old", GENERATOR, "an") for _ in range(9)} == {"aged"}
    assert {thesaurus.pick("old", GENERATOR, "A") for _ in range(9)} == {"former"}
    assert (
        thesaurus.pick("new", GENERATOR) is None and "new" not in thesaurus and "OLD" in thesaurus
    )
    assert match_case("OLD", "aged") == "AGED" and match_case("I", "we") == "We"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_our_own(language):
    """Large enough, and no word is its own synonym."""
    synonyms = own_thesaurus(language).synonyms
    assert len(synonyms) > 500
    for word, others in synonyms.items():
        assert others and word not in [other.lower() for other in others]
        assert all(other.isascii() for other in others) == (language == "en")
