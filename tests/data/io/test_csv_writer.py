"""Cells that spreadsheets run are written as they are, and named on the screen."""

import pytest

from trainer_ext.data.io.answers import write_answers
from trainer_ext.data.io.csv_writer import is_formula, open_csv
from trainer_ext.data.io.readers import read_rows


@pytest.mark.parametrize(
    "cell, expected",
    [
        ("=cmd|' /C calc'!A0", True),
        ('=HYPERLINK("http://x","y")', True),
        ("+SUM(A1:A9)", True),
        ("-2+3+cmd|' /C calc'!A0", True),
        ("@SUM(A1)", True),
        ("\t=cmd|' /C calc'!A0", True),
        ("-1", False),
        (-1.5, False),
        ("@name says hello", False),
        ("a = b (c)", False),
        ("", False),
        (None, False),
    ],
)
def test_formulas(cell, expected):
    assert is_formula(cell) == expected


def test_answers_come_back_and_the_note_says_where(tmp_path, capsys):
    label = "=cmd|' /C calc'!A0"
    answers = [{"text": text, "label": label} for text in ("plain", "@SUM(1)", "-1")]
    path = str(tmp_path / "answers.csv")
    assert write_answers(path, answers) == 3
    assert [row.values for row in read_rows(path)] == answers
    note = capsys.readouterr().err
    assert note.startswith(
        f"{path} has 4 cells that spreadsheets take as formulas (first in row 1)"
    )


def test_nothing_is_said_of_other_files(tmp_path, capsys):
    with open_csv(tmp_path / "a.csv", quote_text=True) as writer:
        writer.write_record({"text": "good", "score": 0.5})
        writer.write_record({"text": "bad", "score": 1})
    written = (tmp_path / "a.csv").read_text()
    assert written == '"text","score"\n"good",0.5\n"bad",1\n' and capsys.readouterr().err == ""
