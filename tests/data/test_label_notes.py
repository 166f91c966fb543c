"""What looks wrong about classes is said before the training; a header among the rows is refused."""

import json

import pytest

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.readers import Row, read_rows
from trainer_ext.data.label_notes import label_notes, log_label_notes
from trainer_ext.data.labelled import label_space, texts_and_labels
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, LabelSpace


def notes(labels, task="single_label", names=None, columns=("text", "label")) -> list[str]:
    """What is said of a file with these labels."""
    rows = [Row({"text": f"t{k}", "label": value}, f"row {k}") for k, value in enumerate(labels, 1)]
    kind = TASKS[task]
    known = kind(label_space(rows, ["label"], names, kind))
    return list(
        label_notes(
            known, texts_and_labels(rows, "text", known)[1], [row.where for row in rows], columns
        )
    )


def test_nothing_to_say():
    assert notes(["pos", "neg", "mixed"] * 5) == []
    assert notes(["a,b", "a", "b", "b,c"] * 5, "multi_label") == []
    assert notes(["10", "11", "100"] * 5) == []
    assert notes(["pos", "neg", "odd"]) == []  # too few rows to say that a class is rare


@pytest.mark.parametrize(
    "labels, task, expected",
    [
        (
            ["pos", "neg"] * 7 + ["good thing"],
            "single_label",
            "1 class occurs in only one or two of the 15 .* 'good thing' (row 15)",
        ),
        (
            ["pos", "neg"] * 7 + ["label"],
            "single_label",
            "class called like a column: is it a second header? 'label'",
        ),
        (
            ["pos", "neg"] * 7 + ["Text"],
            "single_label",
            "class called like a column: is it a second header? 'Text'",
        ),
        (
            ["pos", "neg"] * 7 + ["good thing"] * 3,
            "single_label",
            "of several words, .* 'good thing'",
        ),
        (
            ["a", "b", "a\nb"] * 5,
            "multi_label",
            r"class with a line break or tab inside: .* 'a\nb'",
        ),
        (
            ["a", "b", "a\nb"] * 5,
            "multi_label",
            r"class that join others by '\n' (label_separator '\n'?): 'a\nb'",
        ),
        (
            ["a", "b", "a;b"] * 5,
            "multi_label",
            "class that join others by ';' (label_separator ';'?): 'a;b'",
        ),
        (
            ["a", "b", "a|b"] * 5,
            "single_label",
            "class that join others by '|' (task multi_label, label_separator '|'?)",
        ),
        (["pos", "neg", "nan"] * 5, "single_label", "class as missing values are written 'nan'"),
        (
            ["pos", "neg", "['pos']"] * 5,
            "single_label",
            "class in brackets or quotes: is it a list .* \"['pos']\"",
        ),
        (
            ["pos", "Pos", "neg"] * 5,
            "single_label",
            "classes that differ only in case or whitespace: 'Pos', 'pos'",
        ),
        (
            [f"text {k}" for k in range(12)],
            "single_label",
            "12 classes in 12 rows: is the label in the right column?",
        ),
        (
            ["100", "010", "001"] * 5,
            "multi_label",
            "classes of 0 and 1 only: flags, .* '001', '010'",
        ),
        (
            ["1;0;0", "0;1;0"] * 5,
            "single_label",
            "classes of 0 and 1 only: flags, .* '0;1;0', '1;0;0'",
        ),
        (
            ["x" * 70, "neg", "pos"] * 5,
            "single_label",
            "of more than 60 characters: is the label in the right column?",
        ),
    ],
)
def test_what_looks_wrong(labels, task, expected):
    parts = expected.split(" .* ")
    assert any(all(part in note for part in parts) for note in notes(labels, task)), notes(
        labels, task
    )


def test_classes_without_rows():
    assert "no training row has the class 'odd'" in notes(
        ["pos", "neg"] * 5, names=["pos", "neg", "odd"]
    )


def test_what_reaches_the_screen_steers_no_terminal(capsys):
    rows = [
        Row({"text": "t", "label": name}, "row") for name in ["a", "b"] * 5 + ["\x1b[31mred\x07"]
    ]
    task = TASKS["single_label"](
        LabelSpace.from_values(["label"], [row.values["label"] for row in rows])
    )
    log_label_notes(task, texts_and_labels(rows, "text", task)[1], rows)
    shown = capsys.readouterr().err
    assert r"\x1b[31mred\x07" in shown and "\x1b" not in shown


@pytest.mark.parametrize(
    "name, content, row",
    [
        ("a.csv", "text,label\na,x\ntext,label\nb,y\n", "row 2 \\(line 3\\)"),
        ("a.csv", "text,label\na,x\nLabel, TEXT\nb,y\n", "row 2 \\(line 3\\)"),
        ("a.csv", "text,label\na,x\n\ufefftext,label\nb,y\n", "row 2 \\(line 3\\)"),
        ("a.csv", 'text,label\n"a",x\n"text","label"\nb,y\n', "row 2 \\(line 3\\)"),
        ("a.tsv", "id\ttext\tlabel\n1\ta\tx\nid\ttext\tlabel\n", "row 2 \\(line 3\\)"),
        ("a.txt", "text\tlabel\na\tx\n", "row 1"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "text", "label": "label"}\n', "row 2"),
        ("a.json", '[{"text": "a", "label": "x"}, {"text": "text", "label": "label"}]', "row 2"),
    ],
)
def test_a_header_among_the_rows_is_refused(tmp_path, name, content, row):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"{name}, {row}.*: is a header, not a row"):
        list(read_rows(str(tmp_path / name)))


def test_a_header_where_the_names_were_given(tmp_path):
    for name in ("a.csv", "a.txt"):
        (tmp_path / name).write_text("text\tlabel\na\tx\n")
        options = FileOptions(delimiter="tab", column_names=["text", "label"])
        with pytest.raises(UserError, match="row 1.*: is a header"):
            list(read_rows(str(tmp_path / name), options=options))


def test_words_of_the_header_are_words(tmp_path):
    rows = [
        {"text": "label", "label": "text me"},
        {"text": "text", "label": "x"},
        {"text": "", "label": "label"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row.values for row in read_rows(str(tmp_path / "a.jsonl"))] == rows
    (tmp_path / "b.csv").write_text("text\ntext\n")
    assert [row.values for row in read_rows(str(tmp_path / "b.csv"))] == [{"text": "text"}]


def test_a_column_for_each_class_is_called_like_it():
    rows = [Row({"text": f"t{k}", **dict.fromkeys("abcdef", k % 2)}, f"row {k}") for k in range(10)]
    kind = TASKS["multi_label"]
    task = kind(label_space(rows, list("abcdef"), None, kind))
    labels = texts_and_labels(rows, "text", task)[1]
    assert list(label_notes(task, labels, [row.where for row in rows], list(rows[0].values))) == []
