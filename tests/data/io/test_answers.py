"""Writers: answers to jsonl and csv, whole or not at all."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.io.answers import (
    check_not_read,
    check_output,
    flatten,
    screen_headers,
    screen_rows,
    write_answers,
)
from trainer_ext.data.io.readers import read_rows
from trainer_ext.errors import UserError
from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.label_lists import labels_of
from trainer_ext.tasks.multi_label import MultiLabel

SINGLE = {
    "id": 7,
    "text": 'a "b",\nc',
    "label": "pos",
    "score": 0.75,
    "probabilities": {"neg": 0.25, "pos": 0.75},
}
ASPECTS = {
    "text": "好吃",
    "aspects": {
        "dish_taste": {
            "label": "positive",
            "score": 0.9,
            "probabilities": {"negative": 0.1, "positive": 0.9},
        },
        "price": {
            "label": "negative",
            "score": 0.6,
            "probabilities": {"negative": 0.6, "positive": 0.4},
        },
    },
}


MULTI = {
    "text": "a",
    "labels": ["joy", "love"],
    "probabilities": {"joy": 0.8, "fear": 0.1, "love": 0.6},
}
SCORES = {"id": 1, "text": "a", "scores": {"Cohesion": 3.5, "Syntax": 2.25}}


def test_flatten_lists_and_scores():
    """Labels as the reader takes them; a column per target."""
    assert dict(flatten(MULTI)) == {
        "text": "a",
        "labels": "joy,love",
        "probability_joy": 0.8,
        "probability_fear": 0.1,
        "probability_love": 0.6,
    }
    assert dict(flatten(SCORES)) == {"id": 1, "text": "a", "Cohesion": 3.5, "Syntax": 2.25}


@pytest.mark.parametrize(
    "answer, row",
    [
        (MULTI, ["a", "joy 0.8000, love 0.6000"]),
        ({**MULTI, "labels": []}, ["a", "-"]),
        (SCORES, ["a", 3.5, 2.25]),
    ],
)
def test_screen(answer, row):
    """A cell for each header."""
    assert screen_rows(answer) == [row]
    assert screen_headers(answer) == (
        ["text", "Cohesion", "Syntax"] if "scores" in answer else ["text", "labels"]
    )


def test_a_column_that_begins_with_an_underscore_keeps_its_name():
    assert dict(flatten({"_id": 1, "_tags": ["a"]})) == {"_id": 1, "_tags": '["a"]'}


def test_flatten_single_label():
    """Columns in the order of the answer."""
    assert dict(flatten(SINGLE)) == {
        "id": 7,
        "text": 'a "b",\nc',
        "label": "pos",
        "score": 0.75,
        "probability_neg": 0.25,
        "probability_pos": 0.75,
    }


def test_flatten_multi_aspect():
    """An aspect's own column holds its label."""
    assert list(flatten(ASPECTS)) == [
        ("text", "好吃"),
        ("dish_taste", "positive"),
        ("dish_taste_score", 0.9),
        ("dish_taste_probability_negative", 0.1),
        ("dish_taste_probability_positive", 0.9),
        ("price", "negative"),
        ("price_score", 0.6),
        ("price_probability_negative", 0.6),
        ("price_probability_positive", 0.4),
    ]


def test_jsonl(tmp_path):
    """One object a line, not escaped, equal to the answers."""
    path = tmp_path / "new" / "a.jsonl"
    assert write_answers(str(path), iter([SINGLE, ASPECTS])) == 2
    content = path.read_text(encoding="utf-8")
    assert [json.loads(line) for line in content.splitlines()] == [SINGLE, ASPECTS]
    assert "好吃" in content


def test_csv(tmp_path):
    """The literal bytes: text quoted, numbers bare, LF."""
    path = tmp_path / "a.csv"
    assert write_answers(str(path), [SINGLE]) == 1
    assert path.read_bytes().decode() == (
        '"id","text","label","score","probability_neg","probability_pos"\n7,"a ""b"",\nc","pos",0.75,0.25,0.75\n'
    )


@pytest.mark.parametrize("answer", [SINGLE, ASPECTS])
def test_csv_through_our_reader(tmp_path, answer):
    """What we write we read."""
    path = str(tmp_path / "A.CSV")
    write_answers(path, [answer, answer])
    expected = {name: str(value) for name, value in flatten(answer)}
    assert [row.values for row in read_rows(path)] == [expected, expected]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One folder for the files of all examples."""
    return tmp_path_factory.mktemp("answers")


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.lists(st.one_of(st.sampled_from('\r\n",\t\u2028\x85'), CHARACTERS), max_size=6).map(
    "".join
)


@settings(deadline=None)
@given(texts=st.lists(TEXTS, max_size=5), ending=st.sampled_from(["csv", "jsonl"]))
def test_any_text_comes_back(folder, texts, ending):
    """A row per answer, in order: with lone CRs, quotes and line breaks in the texts."""
    path = str(folder / f"a.{ending}")
    assert write_answers(path, ({"text": text, "label": "x"} for text in texts)) == len(texts)
    assert [row.values for row in read_rows(path)] == [
        {"text": text, "label": "x"} for text in texts
    ]


def test_ids_of_any_type(tmp_path):
    """A parquet id may be a date or an amount: written as text, not refused after the work is done."""
    import datetime
    import decimal

    answers = [
        {"id": value, "text": "a"}
        for value in (datetime.date(2024, 1, 2), decimal.Decimal("1.50"), None)
    ]
    write_answers(str(tmp_path / "a.jsonl"), answers)
    assert [row.values["id"] for row in read_rows(str(tmp_path / "a.jsonl"))] == [
        "2024-01-02",
        "1.50",
        None,
    ]
    write_answers(str(tmp_path / "a.csv"), answers)
    assert [row.values["id"] for row in read_rows(str(tmp_path / "a.csv"))] == [
        "2024-01-02",
        "1.50",
        "",
    ]


@pytest.mark.parametrize("before", [None, "old content\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_error_on_the_way_leaves_nothing(tmp_path, name, before):
    """Neither the file nor a temporary one; a file that was there stays as it was."""
    path = tmp_path / name
    if before:
        path.write_text(before)

    def answers():
        yield from [SINGLE] * 2000  # more than a write buffer
        raise UserError("row 2001 is bad")

    with pytest.raises(UserError, match="row 2001"):
        write_answers(str(path), answers())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == (
        [(name, before)] if before else []
    )


def test_file_appears_when_it_is_whole(tmp_path):
    """While rows are written, nothing carries the name."""
    path = tmp_path / "a.jsonl"

    def answers():
        yield SINGLE
        assert not path.exists()
        yield SINGLE

    write_answers(str(path), answers())
    assert path.exists() and list(tmp_path.iterdir()) == [path]


def test_file_is_complete_when_it_is_renamed(tmp_path, monkeypatch):
    """Nothing is left in a buffer at the moment the name changes."""
    seen, replace = [], os.replace
    monkeypatch.setattr(
        os,
        "replace",
        lambda a, b: (seen.append(Path(a).read_text(encoding="utf-8")), replace(a, b)),
    )
    write_answers(str(tmp_path / "a.jsonl"), [{"text": "a"}])
    assert seen == ['{"text": "a"}\n'] == [(tmp_path / "a.jsonl").read_text(encoding="utf-8")]


def test_no_answers(tmp_path):
    """An empty file, which our reader takes."""
    for name in ("a.csv", "a.jsonl"):
        assert write_answers(str(tmp_path / name), []) == 0
        assert list(read_rows(str(tmp_path / name))) == []


@pytest.mark.parametrize("path", ["a.csv", "b/a.jsonl", "A.CSV", "a.b.csv"])
def test_check_output_takes(path):
    """Both endings."""
    check_output(path)


@pytest.mark.parametrize("path", ["a.txt", "a", "csv", "jsonl", "a.csv.gz", "a.parquet", "b.csv/a"])
def test_check_output_refuses(path):
    """With the path and what is expected."""
    with pytest.raises(
        UserError, match=f"^--output {path}: unknown ending; expected .jsonl or .csv$"
    ):
        check_output(path)


def test_check_output_refuses_a_folder(tmp_path):
    """Before the work, not after it."""
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_output(str(tmp_path / "a.csv"))
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError,
        match="--output .*/file/a.csv: .*/file is not a folder that can be written to: Not a dir",
    ):
        check_output(str(tmp_path / "file" / "a.csv"))


def test_screen_rows():
    """A row per aspect, or one in all."""
    assert screen_rows(SINGLE) == [['a "b", c', "pos", 0.75]]
    assert screen_rows(ASPECTS) == [["dish_taste", "positive", 0.9], ["price", "negative", 0.6]]


@pytest.mark.parametrize(
    "labels, cell",
    [
        ([], ""),
        (["Staff; service"], "Staff; service"),
        (["Food, drink"], '["Food, drink"]'),
        (["Food, drink", "Staff; service"], '["Food, drink", "Staff; service"]'),
        (["a", "b"], '["a", "b"]'),  # "a,b" is a class of its own
        (["a", "line\nbreak"], "a,line\nbreak"),
        (["[x]"], '["[x]"]'),
        (["'q'"], None),
        (['say "so"', "a"], None),
    ],
)
def test_labels_in_one_cell(labels, cell):
    """What is written is read as what it was, by training and by the model itself."""
    names = (
        "Food, drink",
        "Staff; service",
        "a",
        "b",
        "a,b",
        "line\nbreak",
        "[x]",
        "'q'",
        'say "so"',
    )
    task = MultiLabel(LabelSpace(("labels",), names, names))
    written = task.join(labels)
    assert cell is None or written == cell
    assert [
        name for name, there in zip(names, task.encode([written]), strict=True) if there
    ] == sorted(labels, key=names.index)
    assert labels_of(written, ",") == labels


def test_a_separator_of_the_models_own(tmp_path):
    """As in the training file."""
    names = ("Food, drink", "Staff")
    task = MultiLabel(LabelSpace(("labels",), names, names, separator="|"))
    answers = [{"text": "x", "labels": list(names)}, {"text": "y\rz", "labels": []}]
    write_answers(str(tmp_path / "a.csv"), answers, task.join)
    rows = [row.values for row in read_rows(str(tmp_path / "a.csv"))]
    assert rows == [{"text": "x", "labels": "Food, drink|Staff"}, {"text": "y\rz", "labels": ""}]


def test_two_columns_of_one_name(tmp_path):
    """A target called `text` would take the text's place."""
    with pytest.raises(UserError, match="two columns of the answer are called 'text'"):
        write_answers(str(tmp_path / "a.csv"), [{"text": "x", "scores": {"text": 1.0}}])
    assert not list(tmp_path.iterdir())


def test_standard_output(capsys):
    """jsonl, a row a line."""
    assert write_answers("-", [{"label": "é"}, {"label": "b"}]) == 2
    assert capsys.readouterr().out == '{"label": "é"}\n{"label": "b"}\n'


def test_the_input_is_not_overwritten(tmp_path, monkeypatch):
    """By its own name, another way to it, a link of either kind, or a redirection."""
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "a.csv"
    source.write_text("text\nx\n")
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "hard.csv").hardlink_to(source)
    (tmp_path / "d").mkdir()
    for name in ("a.csv", "./a.csv", "d/../a.csv", str(source), "link.csv", "hard.csv"):
        with pytest.raises(UserError, match=f"--output {name} is the input"):
            check_not_read(name, str(source))
    with open(source) as file:
        monkeypatch.setattr("sys.stdin", file)
        with pytest.raises(UserError, match="is the input -"):
            check_not_read("a.csv", "-")
    check_not_read("b.csv", "a.csv")
    check_not_read("a.csv", "none.csv")
