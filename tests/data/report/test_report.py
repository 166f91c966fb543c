"""The data report: figures that were counted by hand, through the command line."""

import json
from pathlib import Path

import pytest

from tests.conftest import run_script
from trainer_ext.arguments.data import DataArguments
from trainer_ext.cli.report import main, parse
from trainer_ext.data.io.readers import Row
from trainer_ext.data.report.cross_table import cross_table
from trainer_ext.data.report.job import short_names
from trainer_ext.data.report.profile import Profile
from trainer_ext.errors import UserError


def report(monkeypatch, folder: Path, *argv) -> dict:
    """What the report finds, by name of the file."""
    monkeypatch.setattr("sys.argv", ["report", *map(str, argv), "--output_dir", str(folder)])
    main()
    return json.loads((folder / "data_report.json").read_text(encoding="utf-8"))


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Repeats, a contradiction, a gap and a leak."""
    rows = [
        "text,label,id",
        "Good food,1,1",
        "good  FOOD,0,2",
        "bad,0,3",
        ",1,4",
        "fine,,5",
        "bad,0,6",
        "other,1,7",
    ]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "dev.csv").write_text("text,label\nBAD,1\nnew one,1\nnew two,0\n")
    return [tmp_path / "train.csv", tmp_path / "dev.csv"]


def test_single_label(monkeypatch, tmp_path, files, capsys):
    found = report(monkeypatch, tmp_path / "out", *files)
    train, dev = found["files"]
    assert (train["rows"], dev["rows"], train["columns"]) == (7, 3, ["text", "label", "id"])
    assert train["classes"]["label"] == {"counts": {"0": 3, "1": 3}, "imbalance_ratio": 1.0}
    assert train["missing"] == {
        "text": {"count": 1, "first": ["row 4 (line 5)"]},
        "label": {"count": 1, "first": ["row 5 (line 6)"]},
    }
    assert train["duplicates"] == {
        "repeated_rows": 2,
        "conflicting_texts": 1,
        "conflicting_rows": 2,
        "exact": {"repeated_rows": 1, "conflicting_texts": 0, "conflicting_rows": 0},
    }
    (shared,) = found["shared"]
    assert shared == {
        **{
            "first": "train.csv",
            "second": "dev.csv",
            "texts": 1,
            "rows_of_second": 1,
            "conflicting_texts": 1,
        },
        "exact": {"texts": 0, "rows_of_second": 0, "conflicting_texts": 0},
    }
    assert (
        train["length"]["characters"]["max"] == 10
        and train["length"]["unit"] == "tokens (estimated)"
    )
    for name in ("lengths.png", "classes_label.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert (
        "train.csv: no label in 1 rows: row 5 (line 6)" in shown
        and "Recommended: --max_length 64" in shown
    )


def test_label_names_and_unknown_labels(monkeypatch, tmp_path, files, capsys):
    """Classes under their names, also those that no row has; what is no class is named."""
    found = report(
        monkeypatch, tmp_path / "out", files[1], "--label_names", "bad=0", "good=1", "none=2"
    )
    assert found["files"][0]["classes"]["label"]["counts"] == {"good": 2, "bad": 1, "none": 0}
    found = report(monkeypatch, tmp_path / "out", files[1], "--label_names", "bad=0", "none=2")
    assert found["files"][0]["unknown_labels"] == {"label": {"1": 2}}
    assert "label has labels that are none of label_names: '1' (2)" in capsys.readouterr().out


def test_aspects_by_recipe(monkeypatch, tmp_path, aspect_files):
    """Flags of a recipe, and one on the command line that wins; not its model, which may be out of reach."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "task: multi_aspect\ntext_column: body\nlabel_columns: [food, staff]\nlearning_rate: 1\n"
        "model_name_or_path: nobody/has-this\n"
    )
    argv = (aspect_files["train"], "--recipe", recipe, "--text_column", "content")
    (train,) = report(monkeypatch, tmp_path / "out", *argv)["files"]
    assert (
        set(train["classes"]) == {"food", "staff"}
        and sum(train["classes"]["food"]["counts"].values()) == 96
    )
    assert (tmp_path / "out" / "classes_1.png").is_file()


def test_multi_label(monkeypatch, tmp_path):
    """Labels between commas; flags in columns."""
    (tmp_path / "a.tsv").write_text('say "hi\t0,2\tx1\nb\t2\tx2\nc\t\tx3\n')
    flags = "--task multi_label --column_names text labels id --quoting none --label_columns labels"
    (file,) = report(
        monkeypatch,
        tmp_path / "out",
        tmp_path / "a.tsv",
        *flags.split(),
        "--label_names",
        *["joy", "fear", "love"],
    )["files"]
    assert (file["rows"], file["missing"]) == (3, {})
    assert file["classes"]["labels"] == {
        "counts": {"love": 2, "joy": 1, "fear": 0},
        "imbalance_ratio": 2.0,
    }
    (tmp_path / "b.csv").write_text("text,joy,fear\na,1,0\nb,1,1\n")
    flags = "--task multi_label --label_columns joy fear"
    (file,) = report(monkeypatch, tmp_path / "out2", tmp_path / "b.csv", *flags.split())["files"]
    assert file["classes"]["labels"]["counts"] == {"joy": 2, "fear": 1}


def test_regression(monkeypatch, tmp_path, score_file):
    flags = "--task regression --label_columns quality price"
    (file,) = report(monkeypatch, tmp_path / "out", score_file, *flags.split())["files"]
    assert file["targets"]["quality"]["count"] == 96 and set(
        file["targets"]["quality"]["counts"]
    ) == set("1234")
    assert file["targets"]["price"]["min"] == 500 and (tmp_path / "out" / "targets_1.png").is_file()


def test_joint(monkeypatch, tmp_path):
    """Intents, slots as spans, and the length in tokens of the row."""
    (tmp_path / "a.txt").write_text("play O\nblue B-song\nmoon I-song\nplay\n\nstop O\nstop\n\n")
    (file,) = report(monkeypatch, tmp_path / "out", tmp_path / "a.txt", "--task", "joint")["files"]
    assert file["classes"]["slots"]["counts"] == {"song": 1}
    assert file["classes"]["intent"]["counts"] == {"play": 1, "stop": 1}
    assert file["length"]["words"]["max"] == 3


def test_chinese_names(monkeypatch, tmp_path):
    """Without a font that has them the picture is drawn with numbers, and says nothing on stderr."""
    (tmp_path / "a.txt").write_text("好\t正面\n坏\t负面\n", encoding="utf-8")
    (file,) = report(monkeypatch, tmp_path / "out", tmp_path / "a.txt")["files"]
    assert set(file["classes"]["label"]["counts"]) == {"正面", "负面"}


@pytest.mark.parametrize(
    "argv, words",
    [
        (
            ["a.csv", "--text_column", "body"],
            "there is no column 'body'; the columns are text, label",
        ),
        (["empty.csv"], "empty.csv is empty"),
        (["a.csv", "a.csv"], "a file is given twice"),
        (["a.csv", "--quotin", "none"], "did you mean '--quoting'"),
        (["a.csv", "--model_name_or_path", "nowhere"], "nowhere has no tokenizer"),
        (["a.jsonl", "--delimiter", ";"], "delimiter ; is for csv, tsv, txt"),
    ],
)
def test_refusals(monkeypatch, tmp_path, argv, words):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,label\na,1\n")
    Path("empty.csv").write_text("text,label\n")
    Path("a.jsonl").write_text('{"text": "a", "label": 1}\n')
    with pytest.raises(UserError, match=words):
        report(monkeypatch, tmp_path / "out", *argv)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", ["a.csv", "a.csv/below", "/proc/none"])
def test_a_folder_that_cannot_be_made(monkeypatch, tmp_path, folder):
    """Found before a file is read."""
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("not,what\nis,looked,for\n")
    with pytest.raises(
        UserError, match=f"--output_dir {folder} is not a folder that can be written to: No"
    ):
        report(monkeypatch, Path(folder), "a.csv")


def test_short_names():
    assert short_names(["x/a.csv", "y/b.csv"]) == ["a.csv", "b.csv"]
    assert short_names(["x/a.csv", "y/a.csv", "y/b.csv"]) == ["x/a.csv", "y/a.csv", "y/b.csv"]


def test_from_the_shell(tmp_path, topic_files):
    """As a user runs it: tables, exit status 0; a file that cannot be read is one line and status 2."""
    done = run_script(
        "-m",
        "trainer_ext.data.report",
        topic_files["train"],
        "--output_dir",
        tmp_path / "out",
        real=True,
    )
    assert (
        done.returncode == 0
        and "sports" in done.stdout
        and (tmp_path / "out/data_report.json").is_file()
    )
    (tmp_path / "bad.csv").write_text('text,label\n"a,1\n')
    done = run_script(
        "-m", "trainer_ext.data.report", tmp_path / "bad.csv", "--output_dir", tmp_path / "no"
    )
    assert (
        done.returncode == 2
        and "bad.csv, row 1 (line 2)" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_cross_table():
    """Rows in the order in which they come up first; half a surrogate pair is a name like others."""
    counts = {"train": {"b": 3, "\ud83d": 1}, "dev": {"a": 2, "b": 5}, "test": {}}
    rows, columns, table = cross_table(counts)
    assert (rows, columns) == (["b", "\ud83d", "a"], ["train", "dev", "test"])
    assert table.tolist() == [[3, 5, 0], [1, 0, 0], [0, 2, 0]]
    assert cross_table({}).counts.shape == (0, 0)


def test_flags_reach_the_data_arguments():
    _, data = parse(
        [
            "a.csv",
            "--task",
            "regression",
            "--label_columns",
            "x",
            "y",
            "--output_dir",
            "o",
            "--delimiter",
            ";",
        ]
    )
    assert (data.task, data.label_columns, data.separator) == ("regression", ["x", "y"], ";")


def test_flags_are_counted_by_class(tmp_path):
    data = DataArguments(task="multi_label", label_columns=["labels"])
    rows = [
        Row({"text": f"t{k}", "labels": flags}, f"row {k}")
        for k, flags in enumerate(([1, 0, 0], [1, 0, 1]))
    ]
    assert Profile(data).read(rows).summary()["classes"]["labels"]["counts"] == {
        "0": 2,
        "1": 0,
        "2": 1,
    }
    named = DataArguments(task="multi_label", label_columns=["labels"], label_names=["a", "b", "c"])
    assert Profile(named).read(rows).summary()["classes"]["labels"]["counts"] == {
        "a": 2,
        "b": 0,
        "c": 1,
    }
    with pytest.raises(UserError, match="row 9: .*looks like a list"):
        Profile(data).read([Row({"text": "t", "labels": "[a, b]"}, "row 9")])
