"""Rows come back from a written file as they were."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.io.row_writer import check_paths, open_rows
from trainer_ext.errors import UserError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def write(path, rows, extra=()) -> list[dict]:
    with open_rows(str(path), extra) as writer:
        for row in rows:
            writer.write(row)
    return [row.values for row in read_rows(str(path))]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries({"text": TEXTS, "label": TEXTS}), min_size=1, max_size=4))
def test_texts_come_back(tmp_path_factory, rows):
    """Line breaks, quotes and commas included, in both formats."""
    folder = tmp_path_factory.mktemp("rows")
    assert write(folder / "a.csv", rows) == rows
    assert write(folder / "a.jsonl", rows) == rows


def test_types_stay_in_jsonl_and_are_json_in_csv(tmp_path):
    row = {"id": 1, "labels": ["a", "b"], "score": 2.5, "none": None, "label": "x"}
    assert write(tmp_path / "a.jsonl", [row]) == [row]
    (read,) = write(tmp_path / "a.csv", [row], ("source_id",))
    expected = {
        "id": "1",
        "labels": '["a", "b"]',
        "score": "2.5",
        "none": "",
        "label": "x",
        "source_id": "",
    }
    assert read == expected
    assert json.loads(read["labels"]) == row["labels"]


def test_csv_refuses_a_column_the_header_lacks(tmp_path):
    with pytest.raises(UserError, match="a column 'b' that the first row lacks"):
        write(tmp_path / "a.csv", [{"a": "1"}, {"a": "1", "b": "2"}])
    assert list(tmp_path.iterdir()) == []


def test_paths_that_would_lose_rows(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text("{}\n")
    check_paths(str(source), str(tmp_path / "b.csv"))
    for output, message in (
        (str(source), "is the input"),
        (str(tmp_path / "b.parquet"), "unknown ending"),
    ):
        with pytest.raises(UserError, match=message):
            check_paths(str(source), output)
    with pytest.raises(UserError, match="standard input"):
        check_paths("-", str(tmp_path / "b.csv"))
