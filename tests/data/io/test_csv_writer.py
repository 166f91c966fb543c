"""Cells that spreadsheets run are written as they are, and named on the screen."""

import csv
import io

import pytest

from trainer_ext.data.io.answers import write_answers
from trainer_ext.data.io.csv_writer import CsvWriter, is_formula
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
        f"note: {path} has 4 cells that spreadsheets take as formulas (first in row 1)"
    )


def test_nothing_is_said_of_other_files(capsys):
    file = io.StringIO()
    writer = CsvWriter(file, "a.csv", csv.QUOTE_NONNUMERIC)
    writer.writerows([("text", "score"), ("good", 0.5)])
    writer.say()
    assert file.getvalue() == '"text","score"\n"good",0.5\n' and capsys.readouterr().err == ""
