"""Half of a surrogate pair is refused with its row, wherever it stands; what steers a terminal reaches none."""

import json

import pandas
import pytest

from trainer_ext.arguments.data import DataArguments
from trainer_ext.characters import broken_at, on_screen, shorten
from trainer_ext.cli import balance
from trainer_ext.data.in_memory import write_table
from trainer_ext.data.io.answers import print_answers
from trainer_ext.data.io.readers import read_rows
from trainer_ext.errors import UserError
from trainer_ext.inference.texts import prepare_texts
from trainer_ext.reports.tables import code_span, table
from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.tasks.single_label import SingleLabel

HALF = "cut \ud83d"


@pytest.mark.parametrize(
    "value, place", [(HALF, 4), ("\U0001f600", None), (["a", HALF], 4), ({HALF: 1}, 4), (3, None)]
)
def test_broken_at(value, place):
    assert broken_at(value) == place


@pytest.mark.parametrize(
    "values",
    [
        {"text": HALF, "label": "a"},
        {"text": "t", "label": HALF},
        {"text": "t", "label": "a", "user": HALF},
        {"text": "t", "label": "a", "id": HALF},
        {"text": "t", "label": "a", HALF: "x"},
        {"text": "t", "labels": ["a", HALF]},
        {"tokens": ["a", HALF], "slots": ["O", "O"], "intent": "x"},
        {"tokens": ["a"], "slots": ["B-" + HALF[-1]], "intent": "x"},
        {"text": "t", "label": "a", "more": {"deep": [HALF]}},
    ],
)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_every_command_refuses_the_row(tmp_path, values, ending):
    """They all read here."""
    path = tmp_path / f"a.{ending}"
    good = json.dumps({"text": "\U0001f600", "label": "x"})  # a whole pair, as two escapes
    lines = [good, json.dumps(values)]
    path.write_text("\n".join(lines) if ending == "jsonl" else f"[{','.join(lines)}]")
    with pytest.raises(UserError, match=r"row 2 .*broken character"):
        list(read_rows(str(path)))


def test_nothing_is_written(tmp_path):
    rows = [
        {"text": f"t{k}", "label": "ab"[k % 2], "user": HALF if k == 7 else "x"} for k in range(10)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = [
        "--input",
        str(tmp_path / "a.jsonl"),
        "--output",
        str(tmp_path / "o.jsonl"),
        "--method",
        "oversample",
    ]
    with pytest.raises(UserError, match="row 8.*column 'user' holds a broken character at 4"):
        balance.main(argv)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_texts_given_to_a_predictor():
    for task, item in (
        (SingleLabel(LabelSpace.from_names(["label"], ["a", "b"])), HALF),
        (Joint(JointLabelSpace(("intent",), ("a", "b"), ("a", "b"))), HALF),
        (Joint(JointLabelSpace(("intent",), ("a", "b"), ("a", "b"))), ["a", HALF]),
    ):
        with pytest.raises(UserError, match="text 2: holds a broken character"):
            list(prepare_texts(["fine", item], task))


def test_rows_given_to_fit(tmp_path):
    frame = pandas.DataFrame({"text": ["fine", HALF], "label": ["a", "b"]}, dtype=object)
    for rows in (frame, frame.to_dict(orient="records")):
        with pytest.raises(UserError, match="train_file, row 2: holds a broken character"):
            write_table(rows, tmp_path / "rows.jsonl", "train_file")
    assert list(tmp_path.iterdir()) == []


def test_label_names():
    with pytest.raises(ValueError, match="label_names: a name holds a broken character"):
        DataArguments(label_names=["a", HALF])


def test_shorten():
    assert shorten("x" * 61) == "x" * 57 + "..." and shorten("x" * 60) == "x" * 60
    assert shorten("a\n b", 3) == "a b"


def test_on_screen():
    assert on_screen("\x1b[31mred\x07\x9b2J\u202e\r\n") == r"\x1b[31mred\x07\x9b2J\u202e\r\n"
    for text in ("好吃\u3000的", "caf\xe9\xa0noir", "\U0001f468\u200d\U0001f469", "a | b"):
        assert on_screen(text) == text


ESCAPE = "\x1b]0;title\x07\x1b[2J"


def test_tables_steer_no_terminal():
    text = table([[f"class {ESCAPE}", 0.5], ["好吃\n| x", 1.0]], [f"label {ESCAPE}", "score"])
    assert "\x1b" not in text and "\x07" not in text and len(text.splitlines()) == 4
    assert r"class \x1b]0;title\x07\x1b[2J" in text and r"好吃\n| x" in text


def test_names_in_markdown():
    assert code_span("a | b") == "`a | b`"
    assert code_span("<img src=x>\n# head") == r"`<img src=x>\n# head`"
    assert code_span("a ``` b `") == "```` a ``` b ` ````"


def test_answers_on_the_screen(capsys):
    aspects = {f"staff{ESCAPE}": {"label": f"good{ESCAPE}", "score": 0.5}}
    print_answers(iter([{"text": f"text{ESCAPE}", "aspects": aspects}]))
    print_answers(iter([{"text": f"text{ESCAPE}", "label": f"good{ESCAPE}", "score": 0.5}]))
    assert "\x1b" not in capsys.readouterr().out
