"""Errors of the readers name the flag that helps."""

from pathlib import Path

import pytest

from trainer_ext.data.io.readers import read_rows, require_columns
from trainer_ext.errors import UserError


def write(path: Path, content: str) -> str:
    """Write text as it is."""
    path.write_text(content, encoding="utf-8", newline="")
    return str(path)


def refusal(path: str) -> str:
    """The message."""
    with pytest.raises(UserError) as caught:
        list(read_rows(path))
    return str(caught.value)


@pytest.mark.parametrize(
    "content, words",
    [
        (
            "text;label\na,b;1\n",
            "1 (line 2): 2 fields where the header has 1; the header 'text;label' holds another",
        ),
        (
            "text,label\na, b,1\n",
            "3 fields where the header has 2 (a field that holds the delimiter needs quotes",
        ),
        ('text,label\n"a" b,1\n', "(--quoting none takes quotes as text, a line as a row)"),
    ],
)
def test_how_to_read_it_instead(tmp_path, content, words):
    """What a person would try next."""
    assert words in refusal(write(tmp_path / "a.csv", content))


def test_a_header_that_was_not_cut(tmp_path):
    """The column is missing because the delimiter is another one."""
    (row,) = read_rows(write(tmp_path / "a.csv", "text;label\ngood;1\n"))
    with pytest.raises(
        UserError, match="no column 'text'; .*'text;label' holds .*--delimiter semicolon"
    ):
        require_columns(row, ["text"], "a.csv")


@pytest.mark.parametrize(
    "content",
    [
        '{"text": {"0": "a"}, "label": {"0": 1}}',
        '{"text": ["a", "b"], "label": [1, 2]}',
        '{"data": [{"text": "a"}]}',
        '{\n  "text": {"0": "a"}\n}',
        '"text"',
        "3",
    ],
)
def test_json_that_is_no_array_of_objects(tmp_path, content):
    """As pandas writes columns, and rows inside an object."""
    assert "json holds an array of objects, [{...}, ...]" in refusal(
        write(tmp_path / "cols.json", content)
    )


def test_an_array_under_the_name_of_lines(tmp_path):
    """And how it is read."""
    path = write(tmp_path / "a.jsonl", '[{"text": "a"}]')
    assert (
        "expected a JSON object, got list (an array of objects is read with --file_format json)"
        in refusal(path)
    )
