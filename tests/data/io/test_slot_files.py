"""Intent and slot files: literal rows, what is refused, nothing lost or moved, and the real corpora."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from trainer_ext.data.io.readers import Row
from trainer_ext.data.io.slot_files import (
    parse_inline,
    read_inline,
    read_slot_file,
    read_token_lines,
    tag_characters,
)
from trainer_ext.data.io.smp import read_smp
from trainer_ext.data.joint import joint_label_space, words_and_labels
from trainer_ext.data.labelled import read_labelled
from trainer_ext.errors import UserError
from trainer_ext.tasks.joint import Joint

DATA = ROOT.parent / "shared" / "data"
SNIPS = "play O\nsome B-genre\njazz I-genre\nPlayMusic\n\nrate O\n6 B-value\nRateBook\n\n"
SESSIONS = (
    "117\t播放花心\tmusic.play\t播放<song>花心</song>\n117\t取消\tOTHERS\t取消\n\n"
    "118\t给首la la的歌\tmusic.play\t给首<singer>la la||娜娜</singer>的歌\n"
)


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8", newline="")
    return str(path)


def values(path: str) -> list[tuple]:
    return [
        (row.values["tokens"], row.values["slots"], row.values["intent"])
        for row in read_slot_file(path)
    ]


# --- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [SNIPS, SNIPS.replace("\n", "\r\n"), "\ufeff" + SNIPS, "\n\n" + SNIPS.strip()]
)
def test_token_lines(content, tmp_path):
    assert values(write(tmp_path / "a.txt", content)) == [
        (["play", "some", "jazz"], ["O", "B-genre", "I-genre"], "PlayMusic"),
        (["rate", "6"], ["O", "B-value"], "RateBook"),
    ]


def test_token_lines_with_tabs_and_a_token_with_a_blank(tmp_path):
    path = write(tmp_path / "a.txt", "朴\tB-name\n叔 x\tE-name\nDIAL\n")
    assert values(path) == [(["朴", "叔 x"], ["B-name", "E-name"], "DIAL")]


def test_inline_sessions(tmp_path):
    path = write(tmp_path / "a.tsv", SESSIONS)
    rows = list(read_slot_file(path))
    assert values(path) == [
        (["播", "放", "花", "心"], ["O", "O", "B-song", "I-song"], "music.play"),
        (["取", "消"], ["O", "O"], "OTHERS"),
        (
            ["给", "首", "l", "a", "l", "a", "的", "歌"],
            ["O", "O", "B-singer", "I-singer", "I-singer", "I-singer", "O", "O"],
            "music.play",
        ),
    ]
    assert [row.values["session"] for row in rows] == ["117", "117", "118"]
    assert rows[2].values["text"] == "给首la la的歌" and rows[2].where == f"{path}, row 3 (line 4)"


def test_gz_and_jsonl(tmp_path):
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(SNIPS.encode()))
    lines = [json.dumps({"tokens": t, "slots": s, "intent": i}) for t, s, i in values(str(packed))]
    assert values(write(tmp_path / "a.jsonl", "\n".join(lines))) == values(str(packed))


def test_a_blank_as_token_is_left_out_with_its_tag(tmp_path):
    path = write(tmp_path / "a.txt", "唱 O\n  O\n爱 B-song\n  I-song\n你 E-song\nI\n")
    assert values(path) == [(["唱", "爱", "你"], ["O", "B-song", "E-song"], "I")]


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_intents_in_another_file(end, tmp_path):
    """As CAIS has them: ch.train and ch.train.intent."""
    path = write(tmp_path / "ch.train", "唱 O\n爱 S-song\n\n天 B-date\n气 E-date" + end)
    write(tmp_path / "ch.train.intent", "PlayMusic\nGetWeather\n")
    assert values(path) == [
        (["唱", "爱"], ["O", "S-song"], "PlayMusic"),
        (["天", "气"], ["B-date", "E-date"], "GetWeather"),
    ]


@pytest.mark.parametrize(
    "rows, intents, words",
    [
        (
            "a O\n\nb O\n",
            "I\n",
            ["ch.train, row 2 (line 3)", "ch.train.intent has no intent for it, only 1"],
        ),
        ("a O\n", "I\nJ\n", ["ch.train.intent, row 2", "'J' belongs to no row"]),
        ("a O\nI\n", "I\n", ["ch.train, row 1 (line 2)", "'I' has no tag"]),
    ],
)
def test_intents_in_another_file_that_do_not_fit(rows, intents, words, tmp_path):
    path = write(tmp_path / "ch.train", rows)
    write(tmp_path / "ch.train.intent", intents)
    with pytest.raises(UserError) as caught:
        values(path)
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_empty_file_has_no_rows(tmp_path):
    assert values(write(tmp_path / "a.txt", "\n \n")) == []


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, words",
    [
        ("a O\nb X-y\nI\n", ["row 1 (line 2)", "'X-y' is not a tag"]),
        ("a O\nI\n\nb O\nc o\nI\n", ["row 2 (line 5)", "'o' is not a tag"]),
        ("a O\n\nb O\nI\n", ["row 1 (line 2)", "no line with the intent", "'a'"]),
        ("a O\nI\n\nb O\n", ["row 2 (line 4)", "ends before the row's intent"]),
        ("a O\nI\n\nJ\n", ["row 2 (line 4)", "'J' follows no tokens"]),
        ("a O extra\nI\n", ["row 1 (line 1)", "'extra' is not a tag"]),
        ("a O\n B-x\nI\n", ["row 1 (line 2)", "the token before the tag 'B-x' is empty"]),
        ("a B-x\n E-x\nI\n", ["row 1 (line 2)", "the token before the tag 'E-x' is empty"]),
        ("a O\n S-x\nI\n", ["row 1 (line 2)", "the token before the tag 'S-x' is empty"]),
    ],
)
def test_malformed_token_lines(content, words, tmp_path):
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(UserError) as caught:
        values(path)
    assert all(word in str(caught.value) for word in [path, *words]), caught.value


@pytest.mark.parametrize(
    "tagged, words",
    [
        ("放<song>花心", ["<song> is never closed"]),
        ("放花心</song>", ["</song> closes nothing"]),
        ("放<song>花心</singer>", ["</singer> closes nothing"]),
        ("放<song>花<singer>心</singer></song>", ["<singer> stands inside <song>"]),
        ("放花<song></song>心", ["<song> holds no text"]),
        ("放<song>花</song>", ["'放花'", "the utterance is '放花心'"]),
    ],
)
def test_malformed_inline_tags(tagged, words, tmp_path):
    path = write(tmp_path / "a.txt", f"1\t放花心\tplay\t放花心\n1\t放花心\tplay\t{tagged}\n")
    with pytest.raises(UserError) as caught:
        values(path)
    assert all(word in str(caught.value) for word in [f"{path}, row 2 (line 2)", *words]), (
        caught.value
    )


def test_a_session_line_with_other_columns(tmp_path):
    with pytest.raises(UserError, match=r"row 2 \(line 2\): 2 columns"):
        values(write(tmp_path / "a.txt", SESSIONS.split("\n")[0] + "\n118\tx\n"))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a O\n\xff\xfe O\nI\n")
    with pytest.raises(UserError, match="not UTF-8"):
        values(str(tmp_path / "a.txt"))
    (tmp_path / "b.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="is not a whole gzip file"):
        values(str(tmp_path / "b.txt.gz"))
    with pytest.raises(UserError, match="does not exist"):
        values(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"slots": ["O"]}, "2 tokens, but 1 tags"),
        ({"slots": ["O", "B"]}, "'B' is not a tag"),
        ({"slots": {"x": "b"}}, "must be a list with a tag for each token"),
        ({"tokens": "a b"}, "must be a list of texts"),
        ({"tokens": [], "slots": []}, "'tokens' is empty"),
        ({"intent": ""}, "'intent' must be a text"),
        ({"intent": None}, "'intent' must be a text"),
    ],
)
def test_rows_of_jsonl_are_checked(change, words):
    good = {"tokens": ["a", "b"], "slots": ["O", "B-x"], "intent": "i"}
    task = Joint(joint_label_space([Row(good, "r"), Row(good | {"intent": "j"}, "r")]))
    with pytest.raises(UserError, match=words) as caught:
        words_and_labels([Row(good, "f, row 1"), Row(good | change, "f, row 2")], task)
    assert str(caught.value).startswith("f, row 2")


def test_unseen_labels_are_named(capsys):
    rows = [Row({"tokens": ["a"], "slots": ["B-x"], "intent": i}, "r") for i in "ij"]
    task = Joint(joint_label_space(rows))
    words_and_labels(rows, task)
    assert capsys.readouterr().err == ""
    new = Row({"tokens": ["a"], "slots": ["B-y"], "intent": "k"}, "r")
    words, [(intent, tags)] = words_and_labels([new], task)
    assert words == [["a"]] and max(intent, *tags) < -100
    assert task.tag_names(tags)[0].startswith("B-")
    assert "no training row has k, B-y" in capsys.readouterr().err


# --- any rows -------------------------------------------------------------------------------------------------------

WORD = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=5
)
TAG = st.one_of(
    st.just("O"), st.builds("{}-{}".format, st.sampled_from("BIES"), st.sampled_from(["a", "b.c"]))
)
ROWS = st.lists(st.tuples(st.lists(st.tuples(WORD, TAG), min_size=1, max_size=5), WORD), max_size=5)


def numbered(text: str):
    """As `read_slot_file` hands lines to a reader."""
    return iter([(k, line) for k, line in enumerate(text.split("\n"), 1)])


@given(ROWS, st.sampled_from([" ", "\t"]), st.sampled_from(["\n", "\n\n"]))
def test_token_lines_round_trip(rows, separator, between):
    """No row lost, merged or moved; as many tags as tokens."""
    lines = [
        "\n".join(f"{word}{separator}{tag}" for word, tag in pairs) + f"\n{intent}{between}"
        for pairs, intent in rows
    ]
    read = list(read_token_lines("f", numbered("\n".join(lines))))
    assert [row.values["intent"] for row in read] == [intent for _, intent in rows]
    assert [list(zip(row.values["tokens"], row.values["slots"], strict=True)) for row in read] == [
        p for p, _ in rows
    ]


PIECE = st.text(
    st.characters(codec="utf-8", exclude_characters="<>|\t\n\r", exclude_categories=["Cs"]),
    max_size=4,
)
PARTS = st.lists(
    st.tuples(PIECE, st.none() | st.sampled_from(["song", "phone_num"]), st.none() | PIECE),
    max_size=5,
)


@given(PARTS, WORD)
def test_inline_tags_round_trip(parts, intent):
    """Pieces with and without a slot, some of them corrected: text, bounds and names come back."""
    text, tagged, expected = "", "", []
    for piece, name, correction in parts:
        if name and piece.strip():
            expected.append((len(text), len(text) + len(piece), name))
            tagged += f"<{name}>{piece}{'' if correction is None else '||' + correction}</{name}>"
        else:
            tagged += piece
        text += piece
    assert parse_inline(tagged) == (text, expected)
    tokens, tags = tag_characters(text, expected)
    assert len(tokens) == len(tags) and "".join(tokens) == "".join(text.split())
    assert sum(tag.startswith("B-") for tag in tags) == len(expected)
    (row,) = read_inline("f", iter([(1, f"7\t{text}\t{intent}\t{tagged}")]))
    assert (row.values["tokens"], row.values["slots"]) == (tokens, tags)
    assert (row.values["intent"], row.values["text"], row.values["session"]) == (intent, text, "7")


# --- SMP's JSON -----------------------------------------------------------------------------------------------------


def test_smp(tmp_path, capsys):
    records = [
        {"text": "打开uc", "domain": "app", "intent": "LAUNCH", "slots": {"name": "uc"}},
        {
            "text": "A对A队 B",
            "domain": "match",
            "intent": "QUERY",
            "slots": {"name": ["A", "B"], "team": "A队"},
        },
        {
            "text": "去佛山站",
            "domain": "map",
            "intent": "ROUTE",
            "slots": {"city": "佛山", "station": "佛山站"},
        },
    ]
    rows = [
        row.values
        for row in read_labelled(write(tmp_path / "a.json", json.dumps(records)), "joint")
    ]
    assert rows[0] == {
        "text": "打开uc",
        "tokens": ["打", "开", "u", "c"],
        "slots": ["O", "O", "B-name", "I-name"],
        "intent": "app/LAUNCH",
    }
    assert rows[1]["slots"] == [
        "B-name",
        "O",
        "B-team",
        "I-team",
        "B-name",
    ]  # the longer value took its place first
    assert rows[2]["slots"] == ["O", "B-station", "I-station", "I-station"]
    assert "row 3 (line 1): left out city '佛山'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, words",
    [
        (
            '[{"text": "a", "domain": "d", "intent": "i", "slots": {"n": "b"}}]',
            r"row 1 \(line 1\): the value 'b' of slot 'n'",
        ),
        ('[{"text": "a"}]', "row 1 .*: 'domain' must be a str, got None"),
        ("{}", "row 1 .*: 'text' must be a str"),
        ("[", "row 1 .*: not JSON: Expecting value"),
    ],
)
def test_smp_refuses(content, words, tmp_path):
    with pytest.raises(UserError, match=words):
        list(read_smp(write(tmp_path / "a.json", content)))


# --- the real files -------------------------------------------------------------------------------------------------

COUNTS = {  # from the READMEs in shared/data
    "snips/train.txt": 13084,
    "snips/dev.txt": 700,
    "snips/test.txt": 700,
    "nlpcc2018_task4/corpus.train.txt": 21352,
    "nlpcc2018_task4/corpus.train.variant_bringtree.txt": 21352,
    "smp_ecdt_nlu/2019merge_train.txt": 2053,
    "smp_ecdt_nlu/2019merge_dev.txt": 256,
    "smp_ecdt_nlu/2019merge_test.txt": 270,
    "smp_ecdt_nlu/2020merge_train.txt": 4011,
    "smp_ecdt_nlu/2020merge_dev.txt": 493,
    "smp_ecdt_nlu/2020merge_test.txt": 520,
}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the corpora are not at {DATA}")
@pytest.mark.parametrize("name", COUNTS)
def test_row_counts_of_the_corpora(name):
    rows = [row.values for row in read_slot_file(str(DATA / name))]
    assert len(rows) == COUNTS[name]
    assert all(len(row["tokens"]) == len(row["slots"]) > 0 for row in rows)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the corpora are not at {DATA}")
@pytest.mark.parametrize("year, count", [(2019, 2579), (2020, 5024)])
def test_row_counts_of_smp(year, count):
    assert len(list(read_smp(str(DATA / f"smp_ecdt_nlu/{year}train.json")))) == count


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the corpora are not at {DATA}")
def test_classes_of_the_corpora():
    intents = [row.values["intent"] for row in read_slot_file(str(DATA / "snips/dev.txt"))]
    assert len(set(intents)) == 7 and all(intents.count(name) == 100 for name in set(intents))
    intents = [
        row.values["intent"]
        for row in read_slot_file(str(DATA / "nlpcc2018_task4/corpus.train.txt"))
    ]
    assert (intents.count("OTHERS"), intents.count("music.prev"), len(set(intents))) == (
        6598,
        5,
        11,
    )
