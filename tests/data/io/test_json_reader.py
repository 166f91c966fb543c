"""JSON arrays and lines: nothing lost, errors with their place."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.io.json_reader import JsonText
from trainer_ext.data.io.readers import read_rows
from trainer_ext.errors import UserError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab]{,\"'\n", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["text", "label", "a]", "好"]), VALUES), max_size=6
)


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8", newline="")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("json")


@settings(deadline=None)
@given(
    RECORDS, st.sampled_from([None, 0, 2]), st.booleans(), st.sampled_from(["", "\ufeff", " \n"])
)
def test_any_array_comes_back(folder, records, indent, ascii, before):
    """Pretty or not, with BOM or blanks before it."""
    path = write(
        folder / "rows.json", before + json.dumps(records, indent=indent, ensure_ascii=ascii) + "\n"
    )
    assert [row.values for row in read_rows(path)] == records


@settings(deadline=None, max_examples=50)
@given(RECORDS.filter(len), st.integers(1, 9))
def test_any_cut_of_the_reading(records, size):
    """However few characters are in memory at a time."""
    text = JsonText(io.StringIO(json.dumps(records, indent=1)))
    text.read_on = lambda _=0, read=text.read_on: read(size)
    assert text.take() == "["
    for number, record in enumerate(records):
        assert not number or text.take() == ","
        text.next()
        assert text.take_value() == record
    assert text.take() == "]" and text.next() == ""
    assert text.line == json.dumps(records, indent=1).count("\n") + 1


def test_lines_under_the_name_json(tmp_path):
    """The first character tells."""
    path = write(tmp_path / "a.json", '\n{"text": "a"}\n{"text": "b"}\n')
    assert [row.values["text"] for row in read_rows(path)] == ["a", "b"]
    assert list(read_rows(write(tmp_path / "b.json", " \n"))) == []
    assert list(read_rows(write(tmp_path / "c.json", "[]"))) == []


def test_rows_are_placed(tmp_path):
    rows = list(read_rows(write(tmp_path / "a.json", '[\n {"text":\n "a"},\n\n {"text": "b"}]')))
    assert [row.where.rpartition("a.json")[2] for row in rows] == [
        ", row 1 (line 2)",
        ", row 2 (line 5)",
    ]


@pytest.mark.parametrize(
    "content, words",
    [
        ('[{"a": 1}, ["b"]]', r"row 2 \(line 1\): expected a JSON object, got list"),
        (
            '[{"a": 1}\n{"a": 2}]',
            r"row 2 \(line 2\): not JSON: expected ',' or '\]' behind an object, got '\{'",
        ),
        ('[{"a": 1},\n{"a": }]', r"row 2 \(line 2\): not JSON: Expecting value"),
        ('[{"a": 1},', r"row 2 \(line 1\): not JSON"),
        ('[{"a": 1}', r"row 2 \(line 1\): .* got 'the end of the file'"),
        ('[{"a": 1},]', r"row 2 \(line 1\): not JSON"),
        ('[{"a": 1}]\n[', r"line 2: not JSON: '\[' behind the end of the array"),
    ],
)
def test_broken_arrays_are_refused(tmp_path, content, words):
    with pytest.raises(UserError, match=words):
        list(read_rows(write(tmp_path / "a.json", content)))
