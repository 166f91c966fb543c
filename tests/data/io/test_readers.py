"""Readers: every row comes back as it was written, or is refused with file, row and reason."""

import csv
import gzip
import io
import json
import sys
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.readers import Row, file_format, read_rows, require_columns, text_of
from trainer_ext.errors import UserError

# Whatever a text may hold, and what readers trip over more often than chance would bring it.
TROUBLE = st.sampled_from(
    ['"', '""', ",", "\t", "\n", "\r", "\r\n", "\u2028", "\x85", "\x0b", "\x1c", "\ufeff", " ", "="]
)
CHARACTERS = st.characters(
    exclude_categories=["Cs"], exclude_characters="\0"
)  # csv takes NUL from Python 3.11 on
TEXTS = st.lists(st.one_of(TROUBLE, CHARACTERS), max_size=8).map("".join)
LINE_TEXTS = TEXTS.map(lambda text: text.replace("\n", "").replace("\r", "")).filter(str.strip)


def write(path: Path, content: str | bytes) -> str:
    """Write `content` byte for byte, packed when the name ends in .gz; returns the path as a string."""
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def values(path: str, **kwargs) -> list[dict]:
    """The values of all rows."""
    return [row.values for row in read_rows(path, **kwargs)]


def refusal(path: str) -> str:
    """The message with which reading all rows is refused."""
    with pytest.raises(UserError) as caught:
        list(read_rows(path))
    assert str(caught.value).startswith(path)
    return str(caught.value).removeprefix(path)


# --- every format, plain and packed ---------------------------------------------------------------------------------

FILES = {
    "csv": "text,label\nnice,1\nbad,0\n",
    "tsv": "text\tlabel\nnice\t1\nbad\t0\n",
    "jsonl": '{"text": "nice", "label": "1"}\n{"text": "bad", "label": "0"}\n',
    "txt": "nice\t1\nbad\t0\n",
}


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", FILES)
def test_each_format_reads_the_same_rows(tmp_path, ending, line_end, bom, gz):
    """With or without BOM, LF or CRLF, packed or not."""
    path = write(tmp_path / f"rows.{ending}{gz}", bom + FILES[ending].replace("\n", line_end))
    assert values(path) == [{"text": "nice", "label": "1"}, {"text": "bad", "label": "0"}]


@pytest.mark.parametrize("ending", FILES)
def test_last_line_needs_no_line_end(tmp_path, ending):
    """The last row is not lost."""
    assert len(values(write(tmp_path / f"rows.{ending}", FILES[ending].rstrip("\n")))) == 2


def test_parquet(tmp_path):
    """Types stay what they are; more rows than one batch keep their order."""
    path = str(tmp_path / "rows.parquet")
    parquet.write_table(
        pyarrow.table({"text": [f"t{k}" for k in range(2500)], "label": list(range(2500))}), path
    )
    assert values(path) == [{"text": f"t{k}", "label": k} for k in range(2500)]


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("ending", FILES)
def test_empty_file_has_no_rows(tmp_path, ending, gz):
    """No rows, no error: the caller says what an empty file means."""
    assert values(write(tmp_path / f"rows.{ending}{gz}", "")) == []
    assert values(write(tmp_path / f"bom.{ending}{gz}", "\ufeff")) == []


@pytest.mark.parametrize(
    "path, expected", [("a.CSV", "csv"), ("a.b.jsonl.gz", "jsonl"), ("-", "txt")]
)
def test_file_format(path, expected):
    """From the ending, whatever its case."""
    assert file_format(path) == expected


# --- csv and tsv ----------------------------------------------------------------------------------------------------


def test_quotes(tmp_path):
    """Line breaks, commas and doubled quotes inside quotes; a quote inside a bare field is a character."""
    path = write(tmp_path / "a.csv", 'text,label\r\n"a ""b"",\r\nc",1\r\n\r\nsize 5" ok,0\r\n')
    rows = list(read_rows(path))
    assert [row.values for row in rows] == [
        {"text": 'a "b",\r\nc', "label": "1"},
        {"text": 'size 5" ok', "label": "0"},
    ]
    assert [row.where for row in rows] == [f"{path}, row 1 (line 3)", f"{path}, row 2 (line 5)"]


def test_quotes_in_tsv(tmp_path):
    """tsv knows the same quotes."""
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"a\t""b""\nc"\t1\n')
    assert values(path) == [{"text": 'a\t"b"\nc', "label": "1"}]


def test_blank_lines_are_no_rows(tmp_path):
    """Before the header, between the rows and at the end."""
    path = write(tmp_path / "a.csv", "\ntext,label\n\na,1\n\n\nb,2\n\n")
    assert values(path) == [{"text": "a", "label": "1"}, {"text": "b", "label": "2"}]


def test_empty_quoted_field_is_a_row(tmp_path):
    """In a file of one column an empty text is a row; a blank line is none."""
    assert values(write(tmp_path / "a.csv", 'text\n""\n\nb\n')) == [{"text": ""}, {"text": "b"}]


@pytest.mark.parametrize("record, fields", [("a,1,2", 3), ("a", 1)])
def test_ragged_record_is_refused(tmp_path, record, fields):
    """With file, row and line, and both numbers."""
    path = write(tmp_path / "a.csv", f'text,label\n"x\ny",0\n{record}\nb,1\n')
    expected = f", row 2 (line 4): {fields} fields where the header has 2"
    hint = (
        " (a field that holds the delimiter needs quotes; --delimiter names another one)"
        if fields > 2
        else ""
    )
    assert refusal(path) == expected + hint


@pytest.mark.parametrize(
    "content, where",
    [
        ('text,label\na,0\n"b" c,1\nd,2\n', ", row 2 (line 3): "),  # text behind a closing quote
        ('text,label\na,0\n"b,1\nc,2\n', ", row 2 (line 4): "),  # a quote that never closes
        ('text,label\n"a,0\n"b",1\n', ", row 1 (line 3): "),  # ... or only at the next one
        ('"text,label\na,0\n', ", row 1 (line 2): "),  # in the header
    ],
)
def test_stray_quotes_are_refused(tmp_path, content, where):
    """Never do two rows become one in silence."""
    assert where in refusal(write(tmp_path / "a.csv", content))
    assert where in refusal(write(tmp_path / "a.tsv", content.replace(",", "\t")))


def test_rows_before_a_bad_one_are_read(tmp_path):
    """Reading streams: what stands before the bad record comes first."""
    rows = read_rows(write(tmp_path / "a.csv", "text,label\na,0\nb\n"))
    assert next(rows).values == {"text": "a", "label": "0"}
    with pytest.raises(UserError, match="row 2"):
        next(rows)


def test_duplicate_header_is_refused(tmp_path):
    """One of the columns would be lost."""
    assert (
        refusal(write(tmp_path / "a.csv", "text,label,text\na,b,c\n"))
        == ": the header names 'text' more than once"
    )


def test_duplicate_parquet_columns_are_refused(tmp_path):
    """Parquet allows two columns of one name; a dict does not."""
    path = str(tmp_path / "a.parquet")
    table = pyarrow.Table.from_arrays(
        [pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"]
    )
    parquet.write_table(table, path)
    assert refusal(path) == ": the header names 'text' more than once"


def test_bom_before_a_quoted_header(tmp_path):
    """The BOM is dropped before quotes are looked at."""
    assert values(write(tmp_path / "a.csv", '\ufeff"text","label"\na,1\n')) == [
        {"text": "a", "label": "1"}
    ]


def test_long_field(tmp_path):
    """Longer than the csv module's own limit of 131072 characters."""
    assert values(write(tmp_path / "a.csv", "text\n" + "x" * 200_000 + "\n")) == [
        {"text": "x" * 200_000}
    ]


# --- characters -----------------------------------------------------------------------------------------------------

SEPARATORS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\ufffdj\u00a0k\u200bl\U0001f600m"


@pytest.mark.parametrize(
    "ending, content",
    [
        ("csv", f"text,label\n{SEPARATORS},1\n"),
        ("tsv", f"text\tlabel\n{SEPARATORS}\t1\n"),
        ("jsonl", json.dumps({"text": SEPARATORS, "label": "1"}, ensure_ascii=False) + "\n"),
        ("txt", f"{SEPARATORS}\t1\n"),
    ],
)
def test_only_line_ends_end_a_row(tmp_path, ending, content):
    """U+2028, U+0085, vertical tab and the like are text (str.splitlines would cut there); U+FFFD is kept."""
    assert values(write(tmp_path / f"a.{ending}", content)) == [{"text": SEPARATORS, "label": "1"}]


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("ending", FILES)
def test_other_encodings_are_refused(tmp_path, ending, gz):
    """Chinese text in GBK, and a NUL-ridden UTF-16 file."""
    path = write(
        tmp_path / f"a.{ending}{gz}", FILES[ending].replace("nice", "好吃").encode("gb18030")
    )
    refused = refusal(path)
    assert refused.startswith(" is not UTF-8 text: byte 0xba (invalid start byte); ")
    assert refused.endswith("it is probably gb18030: --encoding gb18030 reads it")
    refused = refusal(write(tmp_path / f"b.{ending}{gz}", "a,b\n".encode("utf-16")))
    assert "is not UTF-8 text: byte 0xff" in refused and "--encoding utf-16 reads it" in refused


def test_broken_surrogate_is_refused(tmp_path):
    """JSON escapes may spell half of a pair, which no file can hold; whole pairs are fine."""
    path = write(tmp_path / "a.jsonl", '{"text": "ok \\ud83d\\ude00"}\n{"text": "no \\ud83d"}\n')
    with pytest.raises(
        UserError, match=r"row 2 \(line 2\): column 'text' holds a broken character at 3"
    ):
        list(read_rows(path))
    assert text_of(next(read_rows(path)), "text") == "ok \U0001f600"
    with pytest.raises(UserError, match="holds a broken character at 3"):
        text_of(Row({"text": "no \ud83d"}, "row 2"), "text")


# --- jsonl ----------------------------------------------------------------------------------------------------------


def test_jsonl_counts_rows_and_lines(tmp_path):
    """Blank lines are no rows, but are counted as lines."""
    rows = list(
        read_rows(write(tmp_path / "a.jsonl", '\n{"text": "a"}\n\n{"text": null, "n": [1, 2.5]}\n'))
    )
    assert [row.values for row in rows] == [{"text": "a"}, {"text": None, "n": [1, 2.5]}]
    assert rows[1].where.endswith("a.jsonl, row 2 (line 4)")


@pytest.mark.parametrize(
    "line, reason",
    [
        (
            "{'text': 'a'}",
            "not JSON: Expecting property name enclosed in double quotes at column 2",
        ),
        ('{"text": "a"} {"text": "b"}', "not JSON: Extra data at column 15"),
        ('{"text": "a"', "not JSON: Expecting ',' delimiter at column 13"),
        ('["a"]', "expected a JSON object, got list"),
        ("null", "expected a JSON object, got NoneType"),
        ('{"n": ' + "1" * 5000 + "}", "JSON that cannot be read: "),
        ("[" * 100_000, "JSON that cannot be read: "),
    ],
    ids=["quotes", "two", "open", "list", "null", "digits", "nested"],
)
def test_jsonl_that_is_none_is_refused(tmp_path, line, reason):
    """With file, row and line."""
    if "1" * 5000 in line and not hasattr(sys, "get_int_max_str_digits"):
        pytest.skip("this Python reads numbers of any length")
    message = refusal(write(tmp_path / "a.jsonl", '{"text": "ok"}\n\n' + line + "\n"))
    assert message.startswith(f", row 2 (line 3): {reason}")


# --- txt and standard input -----------------------------------------------------------------------------------------


def test_txt_splits_at_the_last_tab(tmp_path):
    """A line without a tab has no label; other tabs belong to the text."""
    path = write(tmp_path / "a.txt", "a\tb\t1\n\nplain\n\t2\nx\t\n")
    rows = list(read_rows(path))
    assert [row.values for row in rows] == [
        {"text": "a\tb", "label": "1"},
        {"text": "plain"},
        {"text": "", "label": "2"},
        {"text": "x", "label": ""},
    ]
    assert [row.where for row in rows] == [
        f"{path}, row 1",
        *(f"{path}, row {k} (line {k + 1})" for k in (2, 3, 4)),
    ]


def test_txt_split_label(tmp_path):
    """None: lines are texts as a whole. A predicate: only what it knows is a label."""
    path = write(tmp_path / "a.txt", "a\t1\nb\tc\n")
    assert values(path, split_label=None) == [{"text": "a\t1"}, {"text": "b\tc"}]
    assert values(path, split_label=str.isdigit) == [{"text": "a", "label": "1"}, {"text": "b\tc"}]


def test_txt_quotes_are_text(tmp_path):
    """txt has no quotes."""
    assert values(write(tmp_path / "a.txt", '"a\t1\nb"\t0\n')) == [
        {"text": '"a', "label": "1"},
        {"text": 'b"', "label": "0"},
    ]


def test_standard_input(monkeypatch):
    """A text a line; a blank line is a row, so that answers stay beside their lines."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\nthree\t1\n"))
    assert values("-") == [{"text": "one"}, {"text": ""}, {"text": "three", "label": "1"}]


def test_standard_input_is_read_as_a_file_is(monkeypatch):
    """UTF-8 whatever the locale says, without BOM, and a lone CR ends no line."""
    data = "\ufeff好\rb\r\nc\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="latin-1"))
    assert values("-") == [{"text": "好\rb"}, {"text": "c"}]


def test_standard_input_that_is_not_utf8(monkeypatch):
    """Refused as a file is, also where the locale would let broken bytes through."""
    stdin = io.TextIOWrapper(io.BytesIO(b"ok\n\xff\n"), encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert (
        refusal("-")
        == " is not UTF-8 text: byte 0xff (invalid start byte); --encoding names another one"
    )


# --- files that cannot be read --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "txt"])
def test_missing_file_and_folder(tmp_path, ending):
    """Each by its own message."""
    (tmp_path / f"folder.{ending}").mkdir()
    assert refusal(str(tmp_path / f"missing.{ending}")) == " does not exist"
    assert refusal(str(tmp_path / f"folder.{ending}")) == " is not a file"


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.gz", "csv"])
def test_unknown_ending(tmp_path, name):
    """Named, with the ones we read."""
    message = refusal(write(tmp_path / name, "x"))
    assert "unknown ending" in message and "csv, tsv, jsonl, json, parquet, txt" in message


@pytest.mark.parametrize("ending", FILES)
def test_broken_gzip_is_refused(tmp_path, ending):
    """Cut short, so that rows are missing, and not packed at all."""
    header, _, rows = FILES[ending].partition("\n")
    whole = gzip.compress((header + "\n" + rows * 3000).encode())
    for name, data in (("cut", whole[:-12]), ("plain", FILES[ending].encode())):
        path = tmp_path / f"{name}.{ending}.gz"
        path.write_bytes(data)
        assert " is not a whole gzip file: " in refusal(str(path))


def test_damaged_gzip_names_the_file(tmp_path):
    """zlib's own error is not let through."""
    packed = gzip.compress("".join(f"{k * k} text\n" for k in range(3000)).encode())
    (tmp_path / "a.txt.gz").write_bytes(packed[:2000] + b"\xff" * 300 + packed[2300:])
    assert " is not a whole gzip file: " in refusal(str(tmp_path / "a.txt.gz"))


def test_damaged_parquet_is_refused(tmp_path):
    """Text in its place, and a file cut short."""
    assert " is not a parquet file: " in refusal(write(tmp_path / "a.parquet", "text,label\na,1\n"))
    parquet.write_table(pyarrow.table({"text": ["a"] * 100}), tmp_path / "b.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-20])
    assert " is not a parquet file: " in refusal(str(tmp_path / "b.parquet"))


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="needs a file that opens and cannot be read"
)
def test_file_that_fails_while_reading(tmp_path):
    """An error of the disk is a message, too."""
    (tmp_path / "a.csv").symlink_to("/proc/self/mem")
    assert " cannot be read: " in refusal(str(tmp_path / "a.csv"))


# --- columns and texts ----------------------------------------------------------------------------------------------


def test_require_columns():
    """Names the missing column and those there are."""
    require_columns(Row({"a": 1, "b": 2}, "f, row 1"), ["b", "a"], "f")
    with pytest.raises(
        UserError,
        match="^f: there is no column 'text'; the columns are a, b; --text_column, --label",
    ):
        require_columns(Row({"a": 1, "b": 2}, "f, row 1"), ["a", "text"], "f")


@pytest.mark.parametrize(
    "value, message",
    [
        (None, "must hold text, got None"),
        (3, "must hold text, got 3"),
        (" \n", r"is empty \(--drop_missing leaves out such rows\)"),
    ],
)
def test_text_of_refuses(value, message):
    """What is no text, with the row."""
    with pytest.raises(UserError, match=f"^f.csv, row 7: column 'text' {message}$"):
        text_of(Row({"text": value}, "f.csv, row 7"), "text")


def test_text_of_keeps_the_text():
    """Not stripped; empty where that is allowed."""
    assert text_of(Row({"text": " a\n"}, "f"), "text") == " a\n"
    assert text_of(Row({"text": ""}, "f"), "text", allow_empty=True) == ""


# --- any rows at all ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One folder for the files of all examples, each of which overwrites the last one's."""
    return tmp_path_factory.mktemp("rows")


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=6),
    kind=st.sampled_from(["csv", "tsv", "csv.gz"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    bom=st.sampled_from(["", "\ufeff"]),
)
def test_any_csv_comes_back(folder, rows, kind, quoting, bom):
    """No row is lost, merged or changed."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t" if kind == "tsv" else ",", quoting=quoting)
    writer.writerows([("text", "label"), *rows])
    path = write(folder / f"rows.{kind}", bom + buffer.getvalue())
    assert [(row["text"], row["label"]) for row in values(path)] == rows


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(TEXTS, st.one_of(TEXTS, st.none(), st.integers())), max_size=6),
    ascii=st.booleans(),
)
def test_any_jsonl_comes_back(folder, rows, ascii):
    """Escaped or not."""
    dicts = [{"text": text, "label": label} for text, label in rows]
    path = write(
        folder / "rows.jsonl", "".join(json.dumps(row, ensure_ascii=ascii) + "\n" for row in dicts)
    )
    assert values(path) == dicts


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(TEXTS, st.one_of(TEXTS, st.none())), min_size=1, max_size=6))
def test_any_parquet_comes_back(folder, rows):
    """Texts and gaps."""
    table = pyarrow.table(
        {
            k: pyarrow.array(v, pyarrow.string())
            for k, v in zip("ab", zip(*rows, strict=True), strict=True)
        }
    )
    parquet.write_table(table, folder / "rows.parquet")
    assert [(row["a"], row["b"]) for row in values(str(folder / "rows.parquet"))] == rows


@settings(deadline=None)
@given(rows=st.lists(LINE_TEXTS, max_size=6), line_end=st.sampled_from(["\n", "\r\n"]))
def test_any_txt_comes_back(folder, rows, line_end):
    """Lines as they are; and with a label behind each."""
    path = write(folder / "rows.txt", "\ufeff" + "".join(row + line_end for row in rows))
    assert values(path, split_label=None) == [{"text": row} for row in rows]
    path = write(
        folder / "labelled.txt",
        "\ufeff" + "".join(f"{row}\t{k}{line_end}" for k, row in enumerate(rows)),
    )
    assert values(path) == [{"text": row, "label": str(k)} for k, row in enumerate(rows)]


# --- files whose ending does not say how they are written -----------------------------------------------------------


def test_format_by_flag(tmp_path):
    """jsonl under .txt (SciCite), and a name without any ending."""
    for name in ("train.txt", "rows"):
        path = write(tmp_path / name, FILES["jsonl"])
        assert values(path, options=FileOptions(file_format="jsonl")) == values(
            write(tmp_path / "a.csv", FILES["csv"])
        )


def test_unknown_ending_names_the_flag(tmp_path):
    assert "--file_format" in refusal(write(tmp_path / "stsa.binary.train", "1 a"))


def test_label_before_the_text(tmp_path):
    """SST-2: the first blank separates, the others are text."""
    options = FileOptions(file_format="txt", delimiter="space", column_names=["label", "text"])
    path = write(tmp_path / "stsa.binary.dev", "1 a  fine\tfilm . \r\n\n0 bad\n")
    assert values(path, options=options) == [
        {"label": "1", "text": "a  fine\tfilm . "},
        {"label": "0", "text": "bad"},
    ]
    with pytest.raises(UserError, match=r"row 2 \(line 3\): 1 fields where column_names has 2"):
        values(write(tmp_path / "a.txt", "1 a\n\nbad\n"), options=options)


def test_blank_lines_that_are_kept(tmp_path):
    """A row whose columns are all empty, where a line is a text; the number of the row is then that of the line."""
    named = FileOptions(file_format="txt", delimiter="space", column_names=["label", "text"])
    path = write(tmp_path / "a.txt", "1 a\n\n 0 b\n \n")
    rows = list(read_rows(path, options=named, keep_blank=True))
    assert [tuple(row.values.values()) for row in rows] == [
        ("1", "a"),
        ("", ""),
        ("", "0 b"),
        ("", ""),
    ]
    assert rows[2].where == f"{path}, row 3"
    unquoted = FileOptions(quoting="none")
    path = write(tmp_path / "a.csv", '\ntext\n"a\n\r\nb\n')
    assert values(path, options=unquoted, keep_blank=True) == [
        {"text": '"a'},
        {"text": ""},
        {"text": "b"},
    ]
    assert values(path, options=unquoted) == [{"text": '"a'}, {"text": "b"}]


def test_quotes_as_text(tmp_path):
    """GoEmotions: no header, quotes that open and never close, rows by line."""
    path = write(tmp_path / "a.tsv", '"so\t27\ta1\nit\'s "ok"\t1,2\ta2\n"\t""\t\n')
    options = FileOptions(column_names=["text", "labels", "id"], quoting="none")
    rows = list(read_rows(path, options=options))
    assert [tuple(row.values.values()) for row in rows] == [
        ('"so', "27", "a1"),
        ('it\'s "ok"', "1,2", "a2"),
        ('"', '""', ""),
    ]
    assert rows[1].where == f"{path}, row 2 (line 2)"
    with pytest.raises(UserError, match=r"row 2 \(line 2\): 2 fields where column_names has 3"):
        values(write(tmp_path / "b.tsv", "a\tb\tc\nd\te\n"), options=options)


def test_quotes_as_text_below_a_header(tmp_path):
    assert values(
        write(tmp_path / "a.csv", '"a";b\r\n\r\nx;"y\r\n'), options=FileOptions("csv", ";", "none")
    ) == [{'"a"': "x", "b": '"y'}]


def test_no_header_with_quotes(tmp_path):
    """The first record is a row."""
    path = write(tmp_path / "a.csv", '1;"a;\n""b"""\n2;c\n')
    options = FileOptions(delimiter=";", column_names=["label", "text"])
    assert values(path, options=options) == [
        {"label": "1", "text": 'a;\n"b"'},
        {"label": "2", "text": "c"},
    ]


CELLS = TEXTS.map(lambda text: text.replace("\n", "").replace("\r", "").replace("\t", ""))


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6),
    line_end=st.sampled_from(["\n", "\r\n"]),
    bom=st.sampled_from(["", "\ufeff"]),
)
def test_any_unquoted_table_comes_back(folder, rows, line_end, bom):
    """Of three columns, so that no row is a blank line."""
    path = write(folder / "rows.tsv", bom + "".join("\t".join(row) + line_end for row in rows))
    options = FileOptions(column_names=["a", "b", "c"], quoting="none")
    starts = (
        rows and not bom and rows[0][0].startswith("\ufeff")
    )  # that one cannot be told from a BOM
    found = [tuple(row.values()) for row in values(path, options=options)]
    assert found[bool(starts) :] == rows[bool(starts) :] and len(found) == len(rows)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=6),
    delimiter=st.sampled_from([";", "|", " ", "\t"]),
)
def test_any_csv_without_header_comes_back(folder, rows, delimiter):
    """Quoted as ever; another delimiter."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    path = write(folder / "rows.csv", "\ufeff" + buffer.getvalue())
    options = FileOptions(delimiter=delimiter, column_names=["a long name", "b"])
    assert [tuple(row.values()) for row in values(path, options=options)] == rows


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.text("ab1", min_size=1, max_size=3), LINE_TEXTS), max_size=6))
def test_any_labelled_line_comes_back(folder, rows):
    """`label text`, where the text may hold blanks and tabs."""
    path = write(folder / "rows.train", "".join(f"{label} {text}\n" for label, text in rows))
    options = FileOptions(file_format="txt", delimiter=" ", column_names=["label", "text"])
    assert [tuple(row.values()) for row in values(path, options=options)] == rows
