"""Files that would fill the memory, never end, or break a library: one line each, or read as they are."""

import contextlib
import csv
import datetime
import gzip
import io
import json
import os
import time

import pyarrow
import pytest
from pyarrow import parquet

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.recipe import read_recipe
from trainer_ext.data.io import open as opening
from trainer_ext.data.io.open import check_file
from trainer_ext.data.io.readers import Row, read_rows, require_columns
from trainer_ext.data.io.row_writer import open_rows
from trainer_ext.data.io.slot_files import read_slot_file
from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.tasks import LabelSpace

LETTERS = "abcdefghijkl"
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}]\n"
    for old, new in zip(LETTERS, LETTERS[1:], strict=False)
)


def refusal(read, *args) -> str:
    """The message, which is one line."""
    with pytest.raises(UserError) as caught:
        read(*args)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500
    return str(caught.value)


def rows_of(path) -> list:
    return list(read_rows(str(path)))


def test_a_row_group_of_parquet_is_not_held_as_a_whole(tmp_path):
    """It may be the whole file: 10 MB here, in a column that is neither compressed nor repeated."""
    texts = [f"{number:06}{'x' * 994}" for number in range(10_000)]
    table = pyarrow.table({"text": texts})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path, compression="none", use_dictionary=False)
    before = pyarrow.total_allocated_bytes()
    rows = read_rows(str(path))
    assert next(rows).values["text"] == texts[0]
    assert pyarrow.total_allocated_bytes() - before < 4e6
    assert [row.values["text"] for row in rows] == texts[1:]


@pytest.mark.parametrize("cut", [10, 200, -4])
def test_damaged_gz_of_tokens_and_tags(tmp_path, cut):
    packed = bytearray(
        gzip.compress(("play O\nit B-x\nPlay\n\n" * 500 + os.urandom(200).hex()).encode())
    )
    packed[cut : cut + 30] = b"\x55" * len(packed[cut : cut + 30])
    (tmp_path / "a.txt.gz").write_bytes(packed)
    assert "a.txt.gz" in refusal(lambda: list(read_slot_file(str(tmp_path / "a.txt.gz"))))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"play O\nPlay\n\n" * 500)[:-9])
    assert "is not a whole gzip file" in refusal(
        lambda: list(read_slot_file(str(tmp_path / "a.txt.gz")))
    )


@pytest.mark.parametrize(
    "kind", [pyarrow.timestamp("us"), pyarrow.date64(), pyarrow.timestamp("ms", tz="UTC")]
)
def test_dates_beyond_the_year_9999(tmp_path, kind):
    unit = {"timestamp[us]": 10**6, "date64[ms]": 1000, "timestamp[ms, tz=UTC]": 1000}[str(kind)]
    days = pyarrow.array([0, 86_400 * 4_000_000 * unit], pyarrow.int64()).cast(kind)
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "when": days}), tmp_path / "a.parquet")
    assert "a.parquet, row 2: column 'when' has a " in refusal(rows_of, tmp_path / "a.parquet")
    early = pyarrow.array([datetime.date(2020, 1, 2)])
    parquet.write_table(pyarrow.table({"text": ["a"], "when": early}), tmp_path / "b.parquet")
    assert rows_of(tmp_path / "b.parquet")[0].values["when"] == datetime.date(2020, 1, 2)


def test_many_columns_take_no_square_of_time(tmp_path):
    names = [f"column {k}" for k in range(100_000)]
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([names, ["x"] * len(names)])
    start = time.perf_counter()
    (row,) = rows_of(tmp_path / "a.csv")
    with open_rows(str(tmp_path / "b.csv")) as writer:
        writer.write(row.values)
    assert "... (100000 in all)" in refusal(require_columns, row, ["text"], "a.csv")
    assert time.perf_counter() - start < 10
    with open(tmp_path / "c.csv", "w", newline="") as file:
        csv.writer(file).writerows([[*names, "column 7"]])
    assert "the header names 'column 7' more than once" in refusal(rows_of, tmp_path / "c.csv")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv.gz", "a.txt.gz", "a.jsonl.gz"])
def test_a_line_without_end(tmp_path, name):
    """80 MB of one letter, in 80 kB."""
    (tmp_path / name).write_bytes(gzip.compress(b"a" * (80 << 20), 1))
    assert "a line of more than 64 MiB is not a row of text" in refusal(rows_of, tmp_path / name)


def test_a_field_without_end(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wb", 1) as file:
        file.write(b'text,label\n"' + (b"word " * 200 + b"\n") * (70 << 10))
    assert "a.csv.gz, row 1 " in refusal(rows_of, tmp_path / "a.csv.gz")


def test_a_json_value_without_end(tmp_path):
    with gzip.open(tmp_path / "a.json.gz", "wb", 1) as file:
        file.write(b'[{"text": "' + b"a" * (70 << 20))
    assert "a.json.gz, line 1: one value of more than 64 MiB" in refusal(
        rows_of, tmp_path / "a.json.gz"
    )


def test_a_file_that_unpacks_to_a_thousand_times_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MOST_UNPACKED", 1 << 18)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a\n" * (1 << 18)))
    assert "unpacks to more than 100 times its size" in refusal(rows_of, tmp_path / "a.txt.gz")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"".join(b"%d\n" % k for k in range(50_000))))
    assert len(rows_of(tmp_path / "b.txt.gz")) == 50_000


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "9" * 5000,
        '"\\ud83d"',
        "NaN,",
    ],
)
def test_json_that_no_row_is(tmp_path, name, value):
    line = f'{{"text": "t", "n": {value}}}'
    (tmp_path / name).write_text(line if name.endswith("jsonl") else f"[{line}]")
    assert f"{name}, row 1" in refusal(rows_of, tmp_path / name)


def test_deep_json_beside_a_model(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert "config.json is not valid JSON" in refusal(read_json, tmp_path / "config.json")
    (tmp_path / "names.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="names.json cannot be read"):
        DataArguments(label_names=[str(tmp_path / "names.json")])


def test_labels_of_thousands_of_digits():
    space = LabelSpace.from_names(["label"], ["a", "b"])
    with pytest.raises(KeyError):
        space.encode("9" * 5000)
    assert LabelSpace.from_values(["label"], ["1", "9" * 5000]).classes[0] == "1"


@pytest.mark.parametrize(
    "text, words",
    [
        (LAUGHS, "values"),
        ("a: &a [*a]\n", "values"),
        ("a: &a {b: *a}\n", "values"),
        ("a: &a {b: 1}\n<<: *a\n", "flat mapping"),
        ("a: " + "[" * 2000 + "\n", "not valid YAML"),
        ("a: " + "9" * 5000 + "\n", "not valid YAML"),
        ("a: 2020-99-99\n", "not valid YAML"),
        ('a: "\\ud83d"\n', "broken character"),
        ("a: \0\n", "not valid YAML"),
        ("- 1\n", "flat mapping"),
        ("a: " + "x" * (11 << 20), "larger than 10 MiB"),
    ],
)
def test_recipes(tmp_path, text, words):
    (tmp_path / "a.yaml").write_text(text)
    start = time.perf_counter()
    assert words in refusal(read_recipe, tmp_path / "a.yaml")
    assert time.perf_counter() - start < 5


def test_what_is_no_file(tmp_path):
    (tmp_path / "dir.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nothing")
    for name, words in {
        "dir.csv": "dir.csv is not a file",
        "pipe.csv": "pipe.csv is not a file (standard input, -, reads what comes through a pipe)",
        "loop.csv": "loop.csv does not exist (a link that leads nowhere)",
        "gone.csv": "gone.csv does not exist (a link that leads nowhere)",
        "none.csv": "none.csv does not exist",
        "nul\0.csv": "does not exist",
    }.items():
        assert refusal(check_file, str(tmp_path / name)).endswith(words)
        assert words in refusal(rows_of, tmp_path / name)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.jsonl", "a.json", "a.parquet"])
@pytest.mark.parametrize(
    "content", [b"\0" * 100, b"text,label\n\0\0,1\n", bytes(range(256)), b"\xff\xfe\x00\xd8"]
)
def test_bytes_that_are_no_text(tmp_path, name, content):
    """Refused in one line, or NUL is a character like others."""
    (tmp_path / name).write_bytes(content)
    with contextlib.suppress(UserError):
        assert all(isinstance(row, Row) for row in rows_of(tmp_path / name))


def test_json_lines_in_a_file_of_one_line(tmp_path):
    """A .json of hundreds of megabytes may be one line; it is read row by row."""
    (tmp_path / "a.json").write_text(json.dumps([{"text": "t" * 1000}] * 100))
    assert len(rows_of(tmp_path / "a.json")) == 100


def test_a_line_without_end_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a" * (65 << 20))))
    assert "-: a line of more than 64 MiB" in refusal(rows_of, "-")


def test_standard_input_is_answered_as_it_comes(monkeypatch):
    """Who writes a line into a pipe need not close it to get the answer."""
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as stdin, open(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr("sys.stdin", stdin)
        rows = read_rows("-")
        for text in ("one", "two"):
            pipe.write(f"{text}\n")
            pipe.flush()
            assert next(rows).values == {"text": text}
