"""suspects.csv read again: rows a person confirmed are left out wherever they stand, and bad files are refused."""

import csv

import pytest

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.dataset import load_rows
from trainer_ext.data.io.readers import Row
from trainer_ext.data.suspects import row_key
from trainer_ext.errors import UserError

COLUMNS = ["text", "label"]
ROWS = [("a good film", "good"), ("a bad film", "bad"), ("a good film", "bad"), ("dull", "bad")]


def write_rows(path, rows=ROWS):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *COLUMNS])
        writer.writerows((k, *row) for k, row in enumerate(rows))
    return str(path)


def write_suspects(path, *lines, header=("verdict", "split", "row_id", "key")):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    return str(path)


def key(text, label):
    return row_key(Row({"text": text, "label": label}, "here"), COLUMNS)


def texts(folder, split="train", **flags):
    data = DataArguments(
        train_file=str(folder / "train.csv"), drop_suspects=str(folder / "s.csv"), **flags
    )
    return [(row.values["text"], row.values["label"]) for row in load_rows(data, split)]


def test_confirmed_rows_are_left_out_by_text_and_label(tmp_path):
    """Not the row of the same text with another label, nor what is right or not looked at; order does not matter."""
    write_rows(tmp_path / "train.csv", ROWS[::-1])
    write_suspects(
        tmp_path / "s.csv",
        [" Wrong ", "train", "", key(*ROWS[2])],
        ["right", "train", "", key(*ROWS[0])],
        ["", "train", "", key(*ROWS[1])],
    )
    assert texts(tmp_path) == [ROWS[3], ROWS[1], ROWS[0]]


def test_the_key_of_a_row_stays_what_it_is():
    """It stands in files that people have filled in."""
    assert key("a good film", "bad") == "row-6863a4eef4303cda"


def test_validation_rows_are_dropped_from_their_own_file(tmp_path):
    write_rows(tmp_path / "train.csv")
    write_rows(tmp_path / "dev.csv", ROWS[:2])
    write_suspects(tmp_path / "s.csv", ["wrong", "validation", "", key(*ROWS[1])])
    assert texts(tmp_path) == ROWS
    assert texts(tmp_path, "validation", validation_file=str(tmp_path / "dev.csv")) == ROWS[:1]
    # Nobody's test rows become fewer.
    assert len(texts(tmp_path, "test", test_file=str(tmp_path / "dev.csv"))) == 2


def test_both_parts_of_a_validation_split_are_of_the_training_file(tmp_path):
    rows = [(f"text {k}", "ab"[k % 2]) for k in range(20)]
    write_rows(tmp_path / "train.csv", rows)
    write_suspects(tmp_path / "s.csv", ["wrong", "train", "", key(*rows[4])])
    parts = [texts(tmp_path, split, validation_split=0.3) for split in ("train", "validation")]
    assert sorted(parts[0] + parts[1]) == sorted(rows[:4] + rows[5:])


def test_rows_made_from_a_dropped_row_go_with_it(tmp_path):
    header = ["id", "text", "label", "source_id", "operation"]
    lines = [["1", "a", "x", "", ""], ["2", "b", "y", "", ""], ["3", "a a", "x", "1", "eda"]]
    with open(tmp_path / "train.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    write_suspects(tmp_path / "s.csv", ["wrong", "train", "1", key("a", "x")])
    assert texts(tmp_path) == [("b", "y")]


@pytest.mark.parametrize(
    "line, said",
    [
        (["maybe", "train", "", key(*ROWS[0])], "the verdict is 'maybe'; expected wrong"),
        (["wrong", "dev", "", key(*ROWS[0])], "the split is 'dev'; expected train or validation"),
        (["wrong", "train", "", "1.2E+15"], "the key is '1.2E+15'; expected row- and 16"),
        (["", "train", "", key(*ROWS[0])], "has the verdict wrong, so that none"),
        (["wrong", "train", "", "row-" + 16 * "0"], "row 1 (line 2): no train row has this text"),
    ],
)
def test_bad_lines_are_refused_in_one_line(line, said, tmp_path):
    write_rows(tmp_path / "train.csv")
    write_suspects(tmp_path / "s.csv", line)
    with pytest.raises(UserError) as caught:
        texts(tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert str(tmp_path / "s.csv") in str(caught.value)


def test_another_csv_is_refused(tmp_path):
    write_rows(tmp_path / "train.csv")
    write_rows(tmp_path / "s.csv")
    with pytest.raises(UserError, match="there is no column 'key'"):
        texts(tmp_path)
