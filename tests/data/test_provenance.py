"""Which rows were made from which, and that none of them is measured on."""

import json

import pytest

from trainer_ext.arguments import DataArguments
from trainer_ext.data.dataset import load_rows
from trainer_ext.data.provenance import find_id_column, is_new, new_row, originals_only, source_of
from trainer_ext.data.readers import Row
from trainer_ext.errors import UserError

ORIGINAL = {"id": 7, "text": "good", "label": "a"}
NEW = {"id": "7-eda1", "text": "fine", "label": "a", "source_id": 7, "operation": "synonym_replacement"}


def test_a_new_row_has_its_own_id_and_names_its_source():
    assert new_row({**ORIGINAL, "text": "fine"}, 7, "synonym_replacement", "id", "7-eda1") == NEW
    assert new_row({"text": "x"}, 3, "llm", None, "3-llm1") == {"text": "x", "source_id": 3, "operation": "llm"}


@pytest.mark.parametrize(
    "values", [ORIGINAL, {**ORIGINAL, "source_id": "scraped"}, {**ORIGINAL, "source_id": "", "operation": ""}]
)
def test_rows_without_both_columns_are_originals(values):
    """Somebody's own column `source_id` makes no row new; an empty field in csv neither."""
    assert not is_new(values)
    assert is_new(NEW)


def test_a_row_and_those_made_from_it_have_one_key():
    assert source_of(Row(ORIGINAL, "f"), 1, "id") == source_of(Row(NEW, "f"), 2, "id") == 7
    assert source_of(Row(ORIGINAL, "f"), 4, None) == 4
    with pytest.raises(UserError, match=r"f, row 2: the id in column 'id' is missing"):
        source_of(Row({"id": " "}, "f, row 2"), 2, "id")


def test_the_id_column():
    assert find_id_column(Row(ORIGINAL, "f"), None) == "id"
    assert find_id_column(Row({"text": "x"}, "f"), None) is None
    assert find_id_column(Row({"number": 1}, "f"), "number") == "number"
    with pytest.raises(UserError, match="no column 'uid'; the columns are id, text, label"):
        find_id_column(Row(ORIGINAL, "f"), "uid")


def test_training_rows_may_be_new_and_others_not(tmp_path):
    """As train.py reads them."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ORIGINAL) + "\n" + json.dumps(NEW) + "\n")
    data = DataArguments(train_file=str(path), validation_file=str(path), test_file=str(path))
    assert len(load_rows(data, "train")) == 2
    for split in ("validation", "test"):
        with pytest.raises(UserError, match=r"rows.jsonl, row 2 .*made from row 7 by 'synonym_replacement'"):
            load_rows(data, split)
    assert list(originals_only([Row(ORIGINAL, "f")])) == [Row(ORIGINAL, "f")]
