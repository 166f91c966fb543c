"""`python -m trainer_ext.data.balance`: a file with provenance, in order, or one clear refusal."""

import csv
import json
from collections import Counter

import pytest

from tests.conftest import run_script
from trainer_ext.cli.balance import main
from trainer_ext.data.io.readers import read_rows
from trainer_ext.errors import UserError


def write_jsonl(path, rows) -> str:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return str(path)


def balance(source: str, output, *flags: str) -> list[dict]:
    main(["--input", source, "--output", str(output), *flags])
    return [row.values for row in read_rows(str(output))]


@pytest.fixture
def source(tmp_path) -> str:
    """Nine positive rows and three negative ones; a column of another type is kept."""
    rows = [
        {"text": f"好 {k}", "label": "neg" if k % 4 == 3 else "pos", "place": {"k": k}}
        for k in range(12)
    ]
    return write_jsonl(tmp_path / "in.jsonl", rows)


@pytest.mark.parametrize("method, size", [("oversample", 9), ("undersample", 3), ("hybrid", 6)])
def test_classes_are_equal_and_originals_in_order(source, tmp_path, method, size, capsys):
    before = [row.values for row in read_rows(source)]
    rows = balance(source, tmp_path / "out.jsonl", "--method", method, "--seed", "1")
    assert Counter(row["label"] for row in rows) == {"pos": size, "neg": size}
    assert [row["source_id"] for row in rows] == sorted(row["source_id"] for row in rows)
    for row in rows:
        origin = before[row["source_id"] - 1]
        assert {key: row[key] for key in origin} == origin
        assert (row["id"] == row["source_id"]) != (row.get("operation") == "copy")
    assert len({row["id"] for row in rows}) == len(rows)
    assert f"12 rows -> {2 * size} rows" in capsys.readouterr().out
    again = balance(source, tmp_path / "again.jsonl", "--method", method, "--seed", "1")
    other = balance(source, tmp_path / "other.jsonl", "--method", method, "--seed", "2")
    assert again == rows and (other != rows or method == "oversample")


def test_csv_with_ids_and_aspects(tmp_path):
    """Ids name the sources; line breaks stay; the columns of a copy come at the end."""
    path = tmp_path / "in.csv"
    lines = ["key,text,food,staff"] + [f'r{k},"a\n{k}",{1 if k else 0},1' for k in range(5)]
    path.write_text("\r\n".join(lines) + "\r\n", newline="")
    flags = ["--task", "multi_aspect", "--label_columns", "food", "staff", "--id_column", "key"]
    rows = balance(str(path), tmp_path / "out.csv", "--method", "oversample", *flags)
    with open(tmp_path / "out.csv", newline="") as file:
        assert next(csv.reader(file)) == ["key", "text", "food", "staff", "source_id", "operation"]
    assert [row["source_id"] for row in rows if not row["operation"]] == [
        "r0",
        "r1",
        "r2",
        "r3",
        "r4",
    ]
    copies = [row for row in rows if row["operation"]]
    assert {row["source_id"] for row in copies} == {"r0"}, (
        "the row with the rare label has sqrt(5/5 * 5) repeats"
    )
    assert (
        copies[0] == {**rows[0], "key": "r0-copy-1", "operation": "copy"}
        and rows[0]["text"] == "a\n0"
    )


def test_copies_of_augmented_rows_keep_their_source(tmp_path):
    rows = [{"id": k, "text": "x", "label": "a"} for k in range(4)]
    rows.append({"id": "0-swap", "text": "y", "label": "b", "source_id": 0, "operation": "swap"})
    out = balance(
        write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", "--method", "oversample"
    )
    assert [row["source_id"] for row in out] == [0, 1, 2, 3, 0, 0, 0, 0]
    assert [row["operation"] for row in out[4:]] == ["swap", "copy", "copy", "copy"]


def test_lists_of_labels(tmp_path):
    """Also rows without one, and names with a blank."""
    rows = [
        {"text": "x", "label": ["a b", "c"] if k % 5 == 0 else ["c"] if k % 5 < 4 else []}
        for k in range(40)
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    out = balance(source, tmp_path / "out.jsonl", "--method", "hybrid", "--task", "multi_label")
    share = sum("a b" in row["label"] for row in out) / len(out)
    assert len(out) == 40 and share > 8 / 40
    assert {json.dumps(row["label"]) for row in out} == {'["a b", "c"]', '["c"]', "[]"}


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--label_columns", "lable"], "no column 'lable'; the columns are text, label, place"),
        (["--text_column", "body"], "no column 'body'"),
        (["--id_column", "key"], "no column 'key'"),
        (
            ["--label_columns", "label", "place"],
            "single_label takes one label column, but label_columns names 2",
        ),
        (["--task", "regression"], "invalid choice: 'regression'"),
        (["--seed", "-1"], "seed -1 is out of range"),
    ],
)
def test_refused(source, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        balance(source, tmp_path / "out.jsonl", "--method", "hybrid", *flags)
    assert not (tmp_path / "out.jsonl").exists()


def test_bad_rows_are_named_and_nothing_is_written(tmp_path):
    source = write_jsonl(
        tmp_path / "in.jsonl", [{"text": "x", "label": "a"}, {"text": "y", "label": ""}]
    )
    done = run_script(
        "-m",
        "trainer_ext.data.balance",
        "--input",
        source,
        "--output",
        source,
        "--method",
        "hybrid",
        real=True,
    )
    assert done.returncode == 2 and "is the input" in done.stderr
    out = tmp_path / "out.jsonl"
    done = run_script(
        "-m", "trainer_ext.data.balance", "--input", source, "--output", out, "--method", "hybrid"
    )
    assert (
        done.returncode == 2 and "in.jsonl, row 2" in done.stderr and "Traceback" not in done.stderr
    )
    assert not out.exists()
