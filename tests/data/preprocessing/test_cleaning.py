"""Each cleaning step on literal texts, what they leave alone, and tokens cleaned one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_ext.arguments.preprocessing import CLEANING
from trainer_ext.data.preprocessing.cleaning import (
    STEPS,
    Cleaning,
    halfwidth,
    html,
    read_stopwords,
    remove_stopwords,
)
from trainer_ext.errors import UserError

ANY_TEXT = st.text(
    st.sampled_from("aAé的好了<>&/;!-b0１Ａ，\u3000 \n\u200b\ufeffﬁ\x00\xa0s'\""), max_size=40
)


@pytest.mark.parametrize(
    "step, text, expected",
    [
        ("nfkc", "ﬁne ① ＡＢＣ ｶﾞ e\u0301", "fine 1 ABC ガ é"),
        ("halfwidth", "ＡＢＣ，１２３！\u3000好。", "ABC,123! 好。"),
        ("html", "<p>Good <b>fo</b>od</p><p>bad</p>", "Good food  bad"),
        ("html", "a<br/>b<BR>c", "a b c"),
        ("html", "1 &lt; 2 &amp;&#39;x&#x27; &hearts; &nosuch;", "1 < 2 &'x' ♥ &nosuch;"),
        ("html", '<a href="x?a=1&b=2">link</a> <!-- <b>gone</b> --> <!DOCTYPE html>', "link"),
        ("html", "<STYLE type=x>p { a > b }</Style>text<script>if (a<b) c()</script>", "text"),
        (
            "html",
            "I <3 you, 1 < 2, a <b, <john@x.org>, <!-- open",
            "I <3 you, 1 < 2, a <b, <john@x.org>, <!-- open",
        ),
        ("control", "a\x00b\u200bc\ufeffd\u202ee\xadf\tg\nh", "abcdef\tg\nh"),
        (
            "repeated",
            "好好好好好吃!!!!! sooooo 10000 aaa\n\n\n\n\n",
            "好好好吃!!! sooo 10000 aaa\n\n\n",
        ),
    ],
)
def test_steps(step, text, expected):
    assert STEPS[step](text) == expected
    assert Cleaning((step,))(text) == expected


@pytest.mark.parametrize(
    "stopwords, text, expected",
    [
        (("the", "of"), "The state of theatre, the end", "state theatre, end"),
        (("the",), "state-of-the-art the", "state-of-the-art"),
        (("don't", "a"), "Don't eat a banana", "eat banana"),
        (("的", "了"), "我的书丢了", "我书丢"),
        (("是", "是的", "，"), "是的，我是", "我"),
        (("ok",), "这ok的 oky", "这的 oky"),
        (("the",), "the", ""),
        (("ß",), "SS ß", ""),
    ],
)
def test_stop_words(stopwords, text, expected):
    assert remove_stopwords(text, stopwords) == expected
    assert Cleaning(("stopwords",), stopwords)(text) == expected


def test_steps_are_applied_in_the_given_order():
    """Entities become tags only after the tags went; the other way round a second step sees what the first one made."""
    assert Cleaning(("halfwidth", "html"))("＜ｂ＞x") == "x"
    assert Cleaning(("html", "halfwidth"))("＜ｂ＞x") == "<b>x"
    assert Cleaning(("control", "repeated"))("a\u200ba\u200ba\u200ba") == "aaa"


def test_the_flags_choices_are_the_steps():
    assert set(CLEANING) == {*STEPS, "stopwords"}


def test_nothing_by_default():
    assert Cleaning()("  <b>\u200b！！！！ ") == "  <b>\u200b！！！！ "
    assert Cleaning().by_word(["<b>", "x"]) == ["<b>", "x"]


@given(ANY_TEXT, st.lists(st.sampled_from(CLEANING), unique=True))
def test_any_text(text, steps):
    """No step fails, and what is stored cleans the same way."""
    cleaning = Cleaning(tuple(steps), ("a", "的", "，"))
    assert isinstance(cleaning(text), str)
    assert Cleaning.from_dict(cleaning.to_dict())(text) == cleaning(text)


@given(ANY_TEXT)
def test_half_width_keeps_every_character_in_its_place(text):
    cleaned = halfwidth(text)
    assert len(cleaned) == len(text)
    assert all(a == b or ord(a) > 0x2FFF for a, b in zip(text, cleaned, strict=True))


@given(st.text(st.sampled_from("<>ab/ !-"), max_size=30))
def test_text_without_a_closed_tag_stays(text):
    """Nothing that is no tag, comment, script or style is lost."""
    if ">" not in text:
        assert html(text) == text.strip()


@given(
    st.lists(
        st.text(st.sampled_from("a\u200bﬁ！＜>"), min_size=1, max_size=6).filter(str.strip),
        max_size=6,
    )
)
def test_words_are_never_dropped_or_joined(words):
    cleaned = Cleaning(("nfkc", "halfwidth", "control", "repeated")).by_word(words)
    assert len(cleaned) == len(words) and all(word.strip() for word in cleaned)


def test_a_word_of_nothing_stays():
    assert Cleaning(("control",)).by_word(["a\u200b", "\u200b"]) == ["a", "\u200b"]


@pytest.mark.parametrize("piece", ["<!-- x", "<script>x", "<b x", "</x", "&x", "<style>x<!-- "])
def test_broken_html_is_read_once(piece):
    """A step that looks ahead again and again would take hours; and nothing that was never closed is lost."""
    assert html(piece * 50_000).count("x") == 50_000


def test_stop_words_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffthe\r\n\n of \nthe\n的\n".encode())
    assert read_stopwords(str(path)) == ("the", "of", "的")
    assert Cleaning.from_flags(["stopwords"], str(path)) == Cleaning(
        ("stopwords",), ("the", "of", "的")
    )
    assert Cleaning.from_flags(None, None) == Cleaning()
    path.write_text("\n \n")
    with pytest.raises(UserError, match="words.txt is empty; expected one word a line"):
        read_stopwords(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="words.txt is not UTF-8"):
        read_stopwords(str(path))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_stopwords(str(tmp_path / "none"))


@pytest.mark.parametrize("stored", [{"steps": ["wash"]}, {"step": ["html"]}, ["html"]])
def test_what_is_no_cleaning(stored):
    with pytest.raises((KeyError, TypeError, AttributeError)):
        Cleaning.from_dict(stored)
