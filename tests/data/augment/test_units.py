"""Addresses, names and tags in texts, whole, and through every edit."""

import random
import time

import pytest

from trainer_ext.data.augment.eda import OPERATIONS
from trainer_ext.data.augment.rows import JointRows, TextRows
from trainer_ext.data.augment.sentence import Splitter, delete_words, insert_word
from trainer_ext.data.augment.thesaurus import own_thesaurus
from trainer_ext.data.augment.units import parts, units
from trainer_ext.data.io.readers import Row

ENGLISH = (
    "See /good/film<br /> I can't see: the good film costs $5.00 "
    "http://x.y/z?q=1 good @bob_s film #good-film a.b@good.org. great"
)
CHINESE = "我喜欢看电影http://t.cn/好吃?q=喜欢 真的很好吃，谢谢@小明 喜欢#喜欢电影#真好吃，联系good@x.com吧"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("it costs $5.00 http://x.y/z?q=1", ["http://x.y/z?q=1"]),
        (
            "(see https://a.org/Foo_(bar)), HTTP://X.COM/A!",
            ["https://a.org/Foo_(bar", "HTTP://X.COM/A"],
        ),
        ("www.a.b/c, example.com or bit.ly/Ab3", ["www.a.b/c", "example.com", "bit.ly/Ab3"]),
        (
            "mail a.b+c@x-y.co.uk. or mailto:bob@localhost!",
            ["a.b+c@x-y.co.uk", "mailto:bob@localhost"],
        ),
        ("josé@ex.es and http://münchen.de/straße", ["josé@ex.es", "http://münchen.de/straße"]),
        ("@bob's, @user@mastodon.social", ["@bob's", "@user@mastodon.social"]),
        ("#music #rock-n-roll #a#b", ["#music", "#rock-n-roll", "#a#b"]),
        (
            "看http://t.cn/abc真好，https://a.org/中文 很好",
            ["http://t.cn/abc", "https://a.org/中文"],
        ),
        (
            "联系abc@x.com吧 谢谢@小明，#今天天气#真好＃标签",
            ["abc@x.com", "@小明", "#今天天气#", "＃标签"],
        ),
        ("great<br />film &amp; book, </i> &#39;", ["<br />", "&amp;", "</i>", "&#39;"]),
        (
            r"open C:\good\film.txt, ~/film/a or /usr/good/bin.",
            [r"C:\good\film.txt", "~/film/a", "/usr/good/bin"],
        ),
        ("打开C:\\电影\\好 吧", ["C:\\电影\\好"]),
        ("2 < b and/or c/d & e; 5 /day", []),
        ("and/or 5.00/kg e.g. this. C# at 10 @ 5pm: end.So", []),
    ],
)
def test_units(text, expected):
    assert units(text) == expected
    assert "".join(part for part, _ in parts(text)) == text


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("language, text", [("en", ENGLISH), ("zh", CHINESE)])
def test_no_edit_changes_a_unit(operation, language, text):
    rows, row = TextRows(Splitter(language), "text"), Row({"text": text}, "f, row 1")
    thesaurus, edited = own_thesaurus(language), set()
    for seed in range(100):
        sentence = OPERATIONS[operation](rows.sentence(row), 0.5, random.Random(seed), thesaurus)
        values = rows.values(row, sentence)
        if values:
            assert units(values["text"]) == units(text)
            assert all(unit in values["text"] for unit in units(text))
            edited.add(values["text"])
    assert len(edited - {text}) > 5


def test_an_edit_that_would_join_a_word_and_a_unit_is_dropped():
    rows, row = TextRows(Splitter("zh"), "text"), Row({"text": "谢谢a@b.com吧"}, "f, row 1")
    sentence = rows.sentence(row)
    assert insert_word(sentence, 1, "nice").text == "谢谢nice a@b.com吧"
    assert delete_words(sentence, [0]).text == "a@b.com吧"
    assert rows.values(row, Splitter("zh")("nicea@b.com吧")) is None


def test_numbers_between_words_are_not_taken_for_doubled_punctuation():
    assert delete_words(Splitter("en")("eat 5 cats 5 dogs"), [1]).text == "eat 5 cats 5 dogs"


def test_characters_of_a_unit_in_slot_rows_stay_together():
    tokens = list("喜欢@小明")
    row = Row({"tokens": tokens, "slots": ["O"] * 5, "intent": "i"}, "f")
    sentence = JointRows(Splitter("zh")).sentence(row)
    assert [(word.text, word.free) for word in sentence.words] == [("喜欢", True), ("@小明", False)]


@pytest.mark.parametrize(
    "piece", ["a.", "a-", "a", "@", "#", "@a.", "#a", "#中", "中", "http://", "a@", "www."]
)
def test_time_grows_with_the_text(piece):
    began = time.process_time()
    units(piece * 20000)
    assert time.process_time() - began < 1
