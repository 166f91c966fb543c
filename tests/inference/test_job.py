"""What predict.py does with rows: one answer per row in order, with ids, or an error with file and row."""

import json
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, run_script
from trainer_ext.cli.predict import main
from trainer_ext.data.io.answers import metrics_path
from trainer_ext.data.io.readers import Row
from trainer_ext.errors import UserError
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.inference.job import Form, answer_rows, find_text_column, rows_of
from trainer_ext.inference.predictor import WINDOW
from trainer_ext.inference.submission import Submission
from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.tasks.single_label import SingleLabel


@pytest.fixture(scope="module")
def predictor(tiny_model) -> Predictor:
    """Two rows a batch, so that a window is small."""
    return load_predictor(tiny_model, num_threads=1, batch_size=2)


def write(path: Path, content: str) -> str:
    """Write text as it is."""
    path.write_text(content, encoding="utf-8", newline="")
    return str(path)


def answers(predictor: Predictor, path: str, **kwargs) -> list[dict]:
    """All answers for a file."""
    return list(answer_rows(predictor, rows_of(predictor, None, path), **kwargs))


def brief(rows: list[dict]) -> list[tuple]:
    """(id, text, label) of each answer."""
    return [(row.get("id"), row["text"], row["label"]) for row in rows]


def test_texts_of_the_command_line(predictor):
    """In order; the answer's keys as the contract has them."""
    rows = list(answer_rows(predictor, rows_of(predictor, ["good food", "", "bad\nfood"], None)))
    assert brief(rows) == [
        (None, "good food", "pos"),
        (None, "", "neutral"),
        (None, "bad\nfood", "neg"),
    ]
    assert list(rows[0]) == ["text", "label", "score", "probabilities"]


def test_aspects(tiny_aspects):
    """The answer of the other task."""
    predictor = load_predictor(tiny_aspects)
    (row,) = answer_rows(predictor, rows_of(predictor, ["good"], None))
    assert list(row) == ["text", "aspects"] and row["aspects"]["staff"]["label"] == "pos"


def test_labels_in_txt(predictor, tmp_path):
    """A known label (name or position) behind the last tab is not part of the text; anything else is."""
    path = write(tmp_path / "a.txt", "bad\tpos\nbad\t2\nbad\tfood\nbad food\nx\tbad\tneg\nbad\t3\n")
    assert [row["text"] for row in answers(predictor, path)] == [
        *("bad", "bad", "bad\tfood", "bad food", "x\tbad", "bad\t3"),
    ]


def test_standard_input(predictor, monkeypatch):
    """An answer a line, also for a blank one."""
    monkeypatch.setattr(sys, "stdin", StringIO("good\n\nbad\tneg\n"))
    assert brief(answers(predictor, "-")) == [
        (None, "good", "pos"),
        (None, "", "neutral"),
        (None, "bad", "neg"),
    ]


def test_blank_lines_are_answered(predictor, tmp_path):
    """As from standard input, so that answer 3 belongs to line 3; csv with one column likewise."""
    expected = [
        (None, "good", "pos"),
        (None, "", "neutral"),
        (None, "bad", "neg"),
        (None, "", "neutral"),
    ]
    assert brief(answers(predictor, write(tmp_path / "a.txt", "good\n\nbad\tneg\n\n"))) == expected
    for name in ("a.csv", "a.tsv"):
        assert (
            brief(answers(predictor, write(tmp_path / name, "\ntext\ngood\n\nbad\n\r\n")))
            == expected
        )
    two = write(tmp_path / "b.csv", "text,x\ngood,1\n\nbad,1\n")
    assert brief(answers(predictor, two)) == [expected[0], expected[2]], (
        "of two columns a blank line lacks one"
    )


def test_blank_lines_count_in_messages(predictor, tmp_path):
    path = write(tmp_path / "a.csv", 'text\ngood\n\n"bad" x\n')
    with pytest.raises(UserError, match=r"a.csv, row 3 \(line 4\)"):
        answers(predictor, path)


def test_id_column(predictor, tmp_path):
    """`id` when the rows have one; another by name, which it keeps; else none."""
    path = write(tmp_path / "a.csv", "nr,id,review\n1,x,good\n2,y,bad\n")
    assert brief(answers(predictor, path)) == [("x", "good", "pos"), ("y", "bad", "neg")]
    assert [list(row.items())[:2] for row in answers(predictor, path, id_column="nr")] == [
        [("nr", "1"), ("text", "good")],
        [("nr", "2"), ("text", "bad")],
    ]
    assert "id" not in answers(predictor, write(tmp_path / "b.csv", "nr,review\n1,good\n"))[0]


def test_id_column_of_the_training(tiny_model, tmp_path):
    """The column the model was trained with wins over `id`, where the file has it."""
    predictor = load_predictor(tiny_model)
    predictor.pipeline.id_column = "nr"
    path = write(tmp_path / "a.csv", "nr,id,review\n1,x,good\n")
    assert answers(predictor, path)[0]["nr"] == "1" and "id" not in answers(predictor, path)[0]
    assert brief(answers(predictor, write(tmp_path / "b.csv", "id,review\nx,good\n"))) == [
        ("x", "good", "pos")
    ]


def test_form_of_an_answer(predictor, tmp_path):
    """Columns carried over, no text, labels only."""
    path = write(tmp_path / "a.csv", "id,review,stars,date\nx,good,5,May\n")
    (row,) = answers(
        predictor, path, form=Form(text=False, keep=("date", "stars"), labels_only=True)
    )
    assert list(row.items()) == [("id", "x"), ("date", "May"), ("stars", "5"), ("label", "pos")]
    (row,) = answers(predictor, path, form=Form(keep=("stars", "id")))
    assert list(row) == ["id", "stars", "text", "label", "score", "probabilities"]
    with pytest.raises(UserError, match="there is no column 'colour'"):
        answers(predictor, path, form=Form(keep=("colour",)))
    path = write(tmp_path / "b.csv", "review,label\ngood,pos\n")
    with pytest.raises(
        UserError, match="b.csv, row 1 .*: column 'label' is called as a part of the answer"
    ):
        answers(predictor, path, form=Form(keep=("label",)))


def test_aspects_without_scores(tiny_aspects):
    """Only their labels are left."""
    (row,) = answer_rows(
        p := load_predictor(tiny_aspects), rows_of(p, ["good"], None), form=Form(labels_only=True)
    )
    assert row["aspects"]["staff"] == {"label": "pos"}


@pytest.mark.parametrize(
    "sample, expected",
    [
        ("nr,category\n1,neg\n2,neg\n", [{"nr": "1", "category": "pos"}, {"nr": "2", "category": "neg"}]),
        ("nr,label\n1,\n2,\n", [{"nr": "1", "label": "pos"}, {"nr": "2", "label": "neg"}]),
        ("nr,pos,neg\n1,0,0\n2,0,0\n", [{"nr": "1", "pos": 1, "neg": 0}, {"nr": "2", "pos": 0, "neg": 1}]),
    ],
)  # fmt: skip
def test_submission(predictor, tmp_path, sample, expected):
    """The columns of the sample, in its order; the only other column is the label whatever it is called."""
    path = write(tmp_path / "a.csv", "nr,review\n1,good\n2,bad\n")
    submission = Submission(write(tmp_path / "sample.csv", sample), predictor.task)
    rows = answers(predictor, path, id_column=submission.id_column)
    assert list(submission.write(rows)) == expected


def test_submission_of_probabilities(predictor, tmp_path):
    """Fractions in the sample ask for them."""
    submission = Submission(
        write(tmp_path / "s.csv", "nr,neg,neutral,pos\n1,0.33,0.33,0.34\n"), predictor.task
    )
    rows = answers(predictor, write(tmp_path / "a.csv", "nr,review\n1,good\n"), id_column="nr")
    (row,) = submission.write(rows)
    assert row == {
        "nr": "1",
        **{name: rows[0]["probabilities"][name] for name in ("neg", "neutral", "pos")},
    }


def test_submission_in_the_values_of_the_training_file(tiny_aspects, tmp_path):
    """Aspects are columns of their own."""
    predictor = load_predictor(tiny_aspects)
    columns = predictor.task.label_space.columns
    submission = Submission(
        write(tmp_path / "s.csv", f"id,{','.join(columns)}\n1{',0' * len(columns)}\n"),
        predictor.task,
    )
    (row,) = submission.write(answers(predictor, write(tmp_path / "a.csv", "id,text\n1,good\n")))
    values = dict(
        zip(predictor.task.label_space.classes, predictor.task.label_space.values, strict=True)
    )
    assert row == {"id": "1", **dict.fromkeys(columns, values["pos"])}


@pytest.mark.parametrize(
    "sample, message",
    [
        (
            "id,a,b\n1,0,0\n",
            "s.csv: column 'a' is not something that the model answers; it has the label columns",
        ),
        ("id\n1\n", "s.csv is not a sample submission"),
        ("id,label\n", "s.csv is not a sample submission"),
        ("id,label\n1,x\n2,x\n", "s.csv has 2 rows, but 1 answer"),
    ],
)
def test_submission_that_does_not_fit(predictor, tmp_path, sample, message):
    """One line instead of a file that is refused elsewhere."""
    path = write(tmp_path / "a.csv", "id,review\n1,good\n")
    with pytest.raises(UserError, match=message):
        list(
            Submission(write(tmp_path / "s.csv", sample), predictor.task).write(
                answers(predictor, path)
            )
        )


def test_ids_keep_their_type(predictor, tmp_path):
    """jsonl: a number stays one; a row without an id has null."""
    lines = [{"id": 7, "text": "good"}, {"text": "bad"}, {"id": "z", "text": "bad"}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert [row["id"] for row in answers(predictor, path)] == [7, None, "z"]


@pytest.mark.parametrize("flag", ["text_column", "id_column"])
def test_named_columns_must_be_there(predictor, tmp_path, flag):
    """A misspelt column is an error, not a column of nulls."""
    path = write(tmp_path / "a.csv", "id,review\nx,good\n")
    with pytest.raises(
        UserError, match=r"a.csv, row 1 .* there is no column 'reviw'; the columns are id, review"
    ):
        answers(predictor, path, **{flag: "reviw"})


def test_find_text_column():
    """The training's, else `text`, else the only one."""
    assert find_text_column(Row({"text": "a", "review": "b"}, "f"), "review") == "review"
    assert find_text_column(Row({"text": "a", "title": "b"}, "f"), "review") == "text"
    assert find_text_column(Row({"title": "b"}, "f"), "review") == "title"
    with pytest.raises(
        UserError, match="^f, row 1: which column is the text.* no 'review'; name one of a, b with"
    ):
        find_text_column(Row({"a": "1", "b": "2"}, "f, row 1"), "review")


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"text": null}', "column 'text' must hold text, got None"),
        ('{"txt": "a"}', "column 'text' must hold text, got None"),
        ('{"text": 5}', "column 'text' must hold text, got 5"),
        ('{"text": "\\ud83d"}', "column 'text' holds a broken character"),
        ('{"text": "a", "id": "\\ud83d"}', "column 'id' holds a broken character"),
    ],
)
def test_row_without_text(predictor, tmp_path, line, message):
    """File, row and line, far into the file, too."""
    path = write(tmp_path / "a.jsonl", '{"text": "good", "id": "x"}\n' * 100 + line + "\n")
    with pytest.raises(UserError, match=r"a.jsonl, row 101 \(line 101\): " + message):
        answers(predictor, path)


def test_empty_text_is_answered(predictor, tmp_path):
    """One answer per row also means for an empty one."""
    assert brief(answers(predictor, write(tmp_path / "a.csv", "id,review\n1,\n"))) == [
        ("1", "", "neutral")
    ]


def test_empty_file(predictor, tmp_path):
    """No rows, no answers."""
    assert answers(predictor, write(tmp_path / "a.csv", "")) == []
    assert answers(predictor, write(tmp_path / "b.csv", "review\n")) == []


@settings(deadline=None, max_examples=40)
@given(labels=st.lists(st.sampled_from(["good", "bad", "dull"]), max_size=5 * 2 * WINDOW))
def test_one_answer_per_row_in_order(predictor, labels):
    """Below, at and beyond the size of a window."""
    rows = iter(
        [Row({"id": k, "review": f"{word} food"}, f"row {k}") for k, word in enumerate(labels)]
    )
    classes = {"good": "pos", "bad": "neg", "dull": "neutral"}
    assert brief(list(answer_rows(predictor, rows))) == [
        (k, f"{word} food", classes[word]) for k, word in enumerate(labels)
    ]


@pytest.mark.parametrize("rows", [2 * WINDOW - 1, 2 * WINDOW, 2 * WINDOW + 1, 4 * WINDOW])
def test_window_borders(predictor, rows):
    """No row is lost where a window ends."""
    source = iter([Row({"review": f"{k} good"}, f"row {k}") for k in range(rows)])
    assert [row["text"] for row in answer_rows(predictor, source)] == [
        f"{k} good" for k in range(rows)
    ]


def test_answers_stream(predictor):
    """Rows are read a window at a time: memory does not grow with the file."""
    taken = []

    def rows():
        for number in range(10_000):
            taken.append(number)
            yield Row({"review": "good"}, f"row {number}")

    next(answer_rows(predictor, rows()))
    assert len(taken) == 2 * WINDOW


@pytest.mark.parametrize(
    "output, source, expected",
    [
        ("out/a.jsonl", "x.csv", "out/a.metrics.json"),
        (None, "data/test.csv", "test.metrics.json"),
        (None, "data/test.v2.csv.gz", "test.v2.metrics.json"),
        (None, "-", "stdin.metrics.json"),
    ],
)
def test_metrics_path(output, source, expected):
    """Beside the output, else in the current folder."""
    assert metrics_path(output, source) == Path(expected)


@pytest.mark.parametrize("header", ["id;review;stars", "id\treview", "review|stars"])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_header_that_was_not_cut_is_no_text_column(predictor, tmp_path, header, ending):
    if ending == "tsv" and "\t" in header:
        header = "id,review"
    path = write(tmp_path / f"a.{ending}", f"{header}\ngood food\n")
    with pytest.raises(
        UserError, match=r"a\.(csv|tsv), row 1 .*one column only; the header .* --delimiter"
    ):
        answers(predictor, path)
    assert [row["label"] for row in answers(predictor, path, text_column=header)] == ["pos"]


def test_the_only_column_is_named(predictor, tmp_path, capsys):
    assert len(answers(predictor, write(tmp_path / "a.csv", "comment\ngood food\n"))) == 1
    assert "the texts are those of the only one, 'comment'" in capsys.readouterr().err


SNIPS = "play O\nhey B-song\njude I-song\nPlayMusic\n\nbook O\nit O\nBook\n\n"
TOKENS = [["play", "hey", "jude"], ["book", "it"]]


@pytest.mark.parametrize(
    "content, beside",
    [
        (SNIPS, None),
        (SNIPS.replace(" ", "\t"), None),
        (
            SNIPS.replace("PlayMusic\n", "").replace("Book\n", ""),
            None,
        ),  # to be predicted: no intents
        (SNIPS.replace("PlayMusic\n", "").replace("Book\n", ""), "PlayMusic\nBook\n"),
        (SNIPS.rstrip("\n"), None),
        ("\n" + SNIPS, None),
    ],
)
def test_tokens_and_tags_are_read_as_they_are_for_evaluation(tmp_path, content, beside):
    path = write(tmp_path / "a.txt", content)
    if beside:
        write(tmp_path / "a.txt.intent", beside)
    words = SimpleNamespace(task=Joint(JointLabelSpace(("intent",), ("a", "b"), ("a", "b"))))
    assert [row.values["tokens"] for row in rows_of(words, None, path)] == TOKENS
    texts = SimpleNamespace(task=SingleLabel(LabelSpace.from_names(["label"], ["a", "b"])))
    with pytest.raises(UserError, match="a.txt holds tokens and tags, but the model takes texts"):
        rows_of(texts, None, path)


def test_inline_tags_are_read_as_they_are_for_evaluation(tmp_path):
    path = write(tmp_path / "a.txt", "1\tplay it\tmusic\tplay <song>it</song>\n")
    words = SimpleNamespace(task=Joint(JointLabelSpace(("intent",), ("a", "b"), ("a", "b"))))
    assert [row.values["tokens"] for row in rows_of(words, None, path)] == [list("playit")]


@pytest.mark.parametrize(
    "content", ["play O\n", "turn it on\nplay it\n\nO\n", "a\tb\tc\td\n", "", "one\n\ntwo\n"]
)
def test_lines_of_text_stay_lines(tmp_path, content):
    words = SimpleNamespace(task=Joint(JointLabelSpace(("intent",), ("a", "b"), ("a", "b"))))
    rows = list(rows_of(words, None, write(tmp_path / "a.txt", content)))
    assert [row.values for row in rows] == [{"text": line} for line in content.splitlines()]


def test_scores_are_headed_by_the_file(tiny_model, tmp_path):
    """It may be any split; with `--output -` the answers alone are on standard output."""
    path = write(tmp_path / "held out.csv", "review,label\ngood,pos\nbad,neg\n")
    flags = ["--model", tiny_model, "--input", path, "--evaluate", "--output", "-"]
    done = run_script(ROOT / "predict.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["pos", "neg"]
    (header,) = [line for line in done.stderr.splitlines() if line.startswith("metric ")]
    assert header.split(maxsplit=1)[1].strip() == "held out.csv"
    assert "2 rows -> standard output" in done.stderr
    scores = json.loads((tmp_path / "held out.metrics.json").read_text())
    assert scores["eval_accuracy"] == 1


def test_to_evaluate_without_labels(tiny_model, tmp_path, capsys):
    """The error advises flags that name the columns, and the way then is free."""
    path = write(tmp_path / "a.csv", "review,topic\ngood,pos\n")
    with pytest.raises(UserError, match="no column 'label'.*columns of the training") as error:
        main(["--model", str(tiny_model), "--input", path, "--evaluate"])
    assert "--text_column and --label_columns" in str(error.value)
    output = str(tmp_path / "answers.jsonl")
    common = ["--model", str(tiny_model), "--input", path, "--output", output]
    main([*common, "--evaluate", "--label_columns", "topic"])
    assert "accuracy" in capsys.readouterr().out
    with pytest.raises(UserError, match="--label_columns is for --evaluate"):
        main([*common, "--label_columns", "topic"])
    with pytest.raises(UserError, match="no column 'day'.*--keep_columns name") as error:
        main(
            ["--model", str(tiny_model), "--input", path, "--output", "-", "--keep_columns", "day"]
        )
    assert "--label_columns" not in str(error.value)
