"""Which rows were made from which, and that none of them is measured on."""

import json

import pytest

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.dataset import load_rows
from trainer_ext.data.io.readers import Row
from trainer_ext.data.provenance import is_new, named_rows, new_row, originals_only, source_of
from trainer_ext.errors import UserError

ORIGINAL = {"id": 7, "text": "good", "label": "a"}
NEW = {
    "id": "7-eda1",
    "text": "fine",
    "label": "a",
    "source_id": 7,
    "operation": "synonym_replacement",
}


def test_a_new_row_has_its_own_id_and_names_its_source():
    assert new_row({**ORIGINAL, "text": "fine"}, 7, "synonym_replacement", "id", "7-eda1") == NEW


@pytest.mark.parametrize(
    "values",
    [
        ORIGINAL,
        {**ORIGINAL, "source_id": "scraped"},
        {**ORIGINAL, "source_id": "", "operation": ""},
    ],
)
def test_rows_without_both_columns_are_originals(values):
    """Somebody's own column `source_id` makes no row new; an empty field in csv neither."""
    assert not is_new(values)
    assert is_new(NEW)


def test_a_row_and_those_made_from_it_have_one_key():
    assert source_of(Row(ORIGINAL, "f"), "id") == source_of(Row(NEW, "f"), "id") == 7


def named(*values: dict, id_column: str | None = None) -> list[dict]:
    """The rows of a file `f` with their ids."""
    rows = [Row(row, f"f, row {number}") for number, row in enumerate(values, 1)]
    return [row.values for row in named_rows(rows, id_column)]


def test_each_row_has_an_id():
    """Its own, or its number where the file has none."""
    assert named(ORIGINAL, NEW) == [ORIGINAL, NEW]
    assert named({"number": 1}, {"number": 2}, id_column="number") == [{"number": 1}, {"number": 2}]
    assert named({"text": "x"}, {"text": "y"}) == [{"text": "x", "id": 1}, {"text": "y", "id": 2}]


@pytest.mark.parametrize(
    "rows, id_column, message",
    [
        ([ORIGINAL], "uid", "f, row 1: there is no column 'uid'; the columns are id, text, label"),
        ([ORIGINAL, {"id": " "}], None, "f, row 2: the id in column 'id' is missing"),
        (
            [{"id": 1}, {"id": 2}, {"id": "1"}],
            None,
            "f, row 3: the id '1' in column 'id' is that of an earlier row too",
        ),
        (
            [{"text": "x"}, {"id": 1}],
            None,
            "f, row 2: has an id in column 'id', but the first row has none",
        ),
        (
            [{"text": "x"}, {"source_id": 1, "operation": "eda"}],
            None,
            "f, row 2: made from row 1, but no column 'id'",
        ),
    ],
)
def test_ids_that_name_no_row_are_refused(rows, id_column, message):
    with pytest.raises(UserError, match=message):
        named(*rows, id_column=id_column)


def test_training_rows_may_be_new_and_others_not(tmp_path):
    """As train.py reads them."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ORIGINAL) + "\n" + json.dumps(NEW) + "\n")
    data = DataArguments(train_file=str(path), validation_file=str(path), test_file=str(path))
    assert len(load_rows(data, "train")) == 2
    for split in ("validation", "test"):
        with pytest.raises(
            UserError, match=r"rows.jsonl, row 2 .*made from row 7 by 'synonym_replacement'"
        ):
            load_rows(data, split)
    assert list(originals_only([Row(ORIGINAL, "f")])) == [Row(ORIGINAL, "f")]
