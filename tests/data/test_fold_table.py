"""folds.csv: written once, reused, refused for other data; groups and augmented rows stay together."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.folds import FoldArguments
from trainer_ext.cli.augment import main as augment
from trainer_ext.data.dataset import load_rows
from trainer_ext.data.fold_table import fold_table_in
from trainer_ext.data.io.readers import Row
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, LabelSpace

DATA = DataArguments(task="single_label", label_columns=["label"], id_column="id")
TASK = TASKS["single_label"](LabelSpace(("label",), ("a", "b"), ("a", "b")))


def rows_of(count: int, **columns) -> list[Row]:
    """Rows r0, r1, ... whose classes alternate; `columns` are functions of the number."""
    values = [{"id": f"r{k}", "text": f"text {k}", "label": "ab"[k % 2]} for k in range(count)]
    for name, function in columns.items():
        values = [row | {name: function(k)} for k, row in enumerate(values)]
    return [Row(row, f"rows.csv, row {k + 1}") for k, row in enumerate(values)]


def claim(folder, rows, data=DATA, **flags):
    return fold_table_in(folder, FoldArguments(**{"folds": 3, **flags}), data, rows, TASK, 42)


def test_written_once_and_reused(tmp_path):
    """A second call reads what the first wrote, and a change by hand holds."""
    table = claim(tmp_path, rows_of(12))
    with open(tmp_path / "folds.csv", newline="") as file:
        records = list(csv.DictReader(file))
    assert [record["id"] for record in records] == [f"r{k}" for k in range(12)]
    assert [int(record["fold"]) for record in records] == table.folds[0].tolist()
    assert np.bincount(table.folds[0]).tolist() == [4, 4, 4]
    before = (tmp_path / "folds.csv").stat().st_mtime_ns
    again = claim(tmp_path, rows_of(12))
    assert (again.folds == table.folds).all() and (
        tmp_path / "folds.csv"
    ).stat().st_mtime_ns == before
    held = [set(table.validation_rows(k)) for k in range(3)]
    assert set.union(*held) == set(range(12)) and sum(map(len, held)) == 12
    assert all(not held[k] & set(table.training_rows(k)) for k in range(3))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows[:-1], "made for 12 rows, and now rows is 11"),
        (lambda rows: [*rows[1:], rows[0]], "other data, and the rows changed"),
        (lambda rows: [Row({**rows[0].values, "text": "new"}, ""), *rows[1:]], "other data"),
        (lambda rows: [Row({**rows[0].values, "label": "b"}, ""), *rows[1:]], "other data"),
    ],
)
def test_other_data_is_refused(tmp_path, change, message):
    """Another number, another order, another text, another label."""
    claim(tmp_path, rows_of(12))
    with pytest.raises(UserError, match=message):
        claim(tmp_path, change(rows_of(12)))


def test_another_division_is_refused(tmp_path):
    """Another number of folds, strategy or seed."""
    claim(tmp_path, rows_of(12))
    for flags, message in (
        ({"folds": 4}, "folds 3, and now folds is 4"),
        ({"fold_strategy": "kfold"}, "stratified"),
    ):
        with pytest.raises(UserError, match=message):
            claim(tmp_path, rows_of(12), **flags)
    (tmp_path / "folds.csv").write_text("id,fold\nr0,7\n")
    with pytest.raises(UserError, match="folds.csv is damaged"):
        claim(tmp_path, rows_of(12))


def test_blanks_around_a_text_make_no_other_text(tmp_path):
    fold = claim(tmp_path, rows_of(12, text=lambda k: f"text {k // 2}" + " " * (k % 2))).folds[0]
    assert (fold[::2] == fold[1::2]).all()


def test_groups_are_intact(tmp_path):
    """Also where two groups share a text."""
    rows = rows_of(30, author=lambda k: f"author {k // 3}", text=lambda k: f"text {min(k, 27)}")
    fold = claim(tmp_path, rows, fold_strategy="group", group_column="author").folds[0]
    assert all(len(set(fold[k : k + 3])) == 1 for k in range(0, 30, 3))
    rows = rows_of(
        30,
        author=lambda k: f"author {k // 3}",
        text=lambda k: ["Same  text", "same text "][k % 2] if k in (0, 29) else f"text {k}",
    )
    fold = claim(tmp_path / "b", rows, fold_strategy="group", group_column="author").folds[0]
    assert fold[0] == fold[29]
    with pytest.raises(UserError, match="no column 'writer'"):
        claim(tmp_path / "c", rows, fold_strategy="group", group_column="writer")


def test_repeats_are_other_divisions(tmp_path):
    """Models 0 to 2 have the first, 3 to 5 the second; every row is validated once in each."""
    table = claim(tmp_path, rows_of(12), fold_repeats=2)
    assert table.models == 6 and (table.folds[0] != table.folds[1]).any()
    for first in (0, 3):
        assert sorted(
            np.concatenate([table.validation_rows(k) for k in range(first, first + 3)])
        ) == list(range(12))
    assert "id,fold,fold_2" in (tmp_path / "folds.csv").read_text()


def test_augmented_rows_follow_their_source_and_are_never_validated(tmp_path):
    """They are trained on where their source is, and nowhere else."""
    rows = rows_of(12, source_id=lambda k: "" if k else "somebody's own column")
    made = [
        {
            "id": f"n{k}",
            "text": f"new {k}",
            "label": "ab"[k % 2],
            "source_id": f"r{k % 12}",
            "operation": "eda",
        }
        for k in range(24)
    ]
    made = [Row(values, f"rows.csv, row {13 + k}") for k, values in enumerate(made)]
    table = claim(tmp_path, rows + made)
    assert (table.folds[0, 12:] == np.tile(table.folds[0, :12], 2)).all()
    for k in range(3):
        assert table.validation_rows(k).max() < 12 and len(table.validation_rows(k)) == 4
        assert len(table.training_rows(k)) == 8 * 3
    with pytest.raises(UserError, match="source_id 'r99' is the id of no row"):
        claim(
            tmp_path / "b", [*rows, Row({**made[0].values, "source_id": "r99"}, "rows.csv, row 13")]
        )


def test_rows_without_ids_keep_their_sources_when_some_are_left_out(tmp_path):
    """The number in the file is the row's id for good, also where `--drop_missing` leaves out the row before it."""
    source, out = tmp_path / "rows.csv", tmp_path / "more.csv"
    words = ("big", "new", "sad", "odd", "old", "red", "wet", "dry")
    lines = [
        f"the {word} film was good but slow,{'' if word == 'odd' else 'ab'[k % 2]}"
        for k, word in enumerate(words)
    ]
    source.write_text("\n".join(["text,label", *lines]) + "\n")
    augment(
        ["--input", str(source), "--output", str(out), "--language", "en", "--target_size", "24"]
    )
    data = DataArguments(
        task="single_label", label_columns=["label"], train_file=str(out), drop_missing=True
    )
    rows = load_rows(data, "train")
    fold = claim(tmp_path / "cv", rows, data).folds[0]
    of_source = {
        row.values["id"]: k
        for row, k in zip(rows, fold, strict=True)
        if not row.values["operation"]
    }
    made = [
        (row.values["source_id"], k)
        for row, k in zip(rows, fold, strict=True)
        if row.values["operation"]
    ]
    assert len(made) == 14 and all(of_source[name] == k for name, k in made)


def test_augmented_rows_of_uncertain_source_are_refused(tmp_path):
    """Also with folds that were made before."""
    made = {"text": "new", "label": "a", "source_id": "r4", "operation": "eda"}

    def message(rows, values, **columns) -> str:
        with pytest.raises(UserError) as caught:
            claim(
                tmp_path,
                [*rows, Row({**made, **values}, "rows.csv, row 13")],
                replace(DATA, **columns),
            )
        return str(caught.value)

    twice = rows_of(12, id=lambda k: f"r{k // 2}")
    assert "row 13: made from row 'r4', but no column 'id' tells the rows apart" in message(
        twice, {}, id_column=None
    )
    rows = rows_of(12, key=lambda k: f"r{11 - k}")
    said = "row 13: made from row 'r4', but in column 'key' it has the id 'r7' of another row"
    assert said in message(rows, {"id": "r4-eda1", "key": "r7"}, id_column="key")
    claim(tmp_path, [*rows, Row({**made, "id": "r4-eda1", "key": "r7"}, "rows.csv, row 13")])


def test_ids(tmp_path):
    """Row numbers without a column; with one they must differ."""
    twice = rows_of(12, id=lambda k: "x")
    for folder, rows, start in (("a", rows_of(12), "id,fold\nr0,"), ("c", twice, "row,fold\n1,")):
        claim(tmp_path / folder, rows, replace(DATA, id_column=None))
        assert (tmp_path / folder / "folds.csv").read_text().startswith(start)
    with pytest.raises(UserError, match="row 3: id 'r0' is that of rows.csv, row 1 too"):
        claim(tmp_path / "b", rows_of(12, id=lambda k: f"r{k % 2}"))
