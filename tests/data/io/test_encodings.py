"""Text in other encodings: what a file probably is, and how it is read."""

import gzip
import io

import pytest

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.encodings import detect_encoding, sample_of
from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.io.slot_files import read_slot_file
from trainer_ext.errors import UserError

CHINESE = "text,label\n好吃,1\n很差,0\n"
GERMAN = "text,label\nköstlich und äußerst freundlich – immer wieder,1\nnicht schön,0\n"
FRENCH = "text,label\nun café délicieux,1\ntrès mauvais,0\n"
RUSSIAN = "text,label\nОчень хороший ресторан и вкусная еда,1\nплохо,0\n"
KOREAN = "text,label\n음식이 정말 맛있고 서비스도 친절했습니다,1\n"


@pytest.mark.parametrize(
    "text, encoding",
    [
        (CHINESE, "gb18030"),
        (GERMAN, "cp1252"),
        (FRENCH, "cp1252"),
        ("text,label\nvery good café,1\n", "cp1252"),
        (RUSSIAN, "cp1251"),
        (KOREAN, "euc_kr"),
        (CHINESE, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (CHINESE, "utf-32"),
        (CHINESE, "utf-8"),
        (CHINESE, "utf-8-sig"),
        ("text,label\nplain,1\n", "utf-8"),
        ("", "utf-8"),
    ],
)
def test_auto(tmp_path, text, encoding, capsys):
    """The bytes alone tell, also behind many lines of ASCII; what was taken is said."""
    head, _, body = text.partition("\n")
    for content in (text, f"{head}\n" + "plain,1\n" * 40_000 * (text > "") + body):
        path = tmp_path / "a.csv"
        path.write_bytes(content.encode(encoding))
        rows = [row.values for row in read_rows(str(path), options=FileOptions(encoding="auto"))]
        path.write_text(content, encoding="utf-8")
        assert rows == [row.values for row in read_rows(str(path))]
    expected = encoding.removesuffix("-sig")
    assert ("is read as " in capsys.readouterr().err) == (expected != "utf-8")
    assert detect_encoding(sample_of(io.BytesIO(text.encode(encoding)))) == expected


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "cp936"])
@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv", "text,label\n好吃,1\n"),
        ("a.tsv", "text\tlabel\n好吃\t1\n"),
        ("a.txt", "好吃\t1\n"),
        ("a.jsonl", '{"text": "好吃", "label": "1"}\n'),
        ("a.json", '[{"text": "好吃", "label": "1"}]'),
    ],
)
def test_every_text_format(tmp_path, name, content, encoding, gz):
    data = content.encode(encoding)
    (tmp_path / f"{name}{gz}").write_bytes(gzip.compress(data) if gz else data)
    (row,) = read_rows(str(tmp_path / f"{name}{gz}"), options=FileOptions(encoding=encoding))
    assert row.values == {"text": "好吃", "label": "1"}


def test_token_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("好 O\n吃 B-x\nfood\n\n".encode("gb18030"))
    with pytest.raises(UserError, match="--encoding gb18030 reads it"):
        list(read_slot_file(str(path)))
    (row,) = read_slot_file(str(path), FileOptions(encoding="gb18030"))
    assert row.values["tokens"] == ["好", "吃"]
    (tmp_path / "b.txt").write_text("好 O\n\n", encoding="utf-8")
    (tmp_path / "b.txt.intent").write_bytes("食物\n".encode("gb18030"))
    with pytest.raises(UserError, match="b.txt.intent is not UTF-8"):
        list(read_slot_file(str(tmp_path / "b.txt")))


def test_standard_input(monkeypatch):
    for encoding in ("gb18030", "auto"):
        data = io.BufferedReader(io.BytesIO("好吃\n很差\n".encode("gb18030")))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data, encoding="ascii"))
        rows = read_rows("-", options=FileOptions(encoding=encoding))
        assert [row.values["text"] for row in rows] == ["好吃", "很差"]


def test_wrong_encodings_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text\nschön\n".encode("cp1252"))
    with pytest.raises(
        UserError,
        match=r"a.csv is not UTF-8 text: byte 0xf6 .*probably cp1252: --encoding cp1252 reads it",
    ):
        list(read_rows(str(path)))
    path.write_bytes("text\nein schönes Fenster, süß\n".encode("cp1252"))
    with pytest.raises(
        UserError, match="a.csv is not shift_jis text: .*--encoding cp1252 reads it"
    ):
        list(read_rows(str(path), options=FileOptions(encoding="shift_jis")))
    with pytest.raises(
        UserError, match=r"encoding 'gb18130' is not known; did you mean 'gb18030'\?"
    ):
        FileOptions(encoding="gb18130").check(["csv"])
    with pytest.raises(UserError, match="encoding 'rot13' is not known"):
        FileOptions(encoding="rot13").check(["csv"])
    with pytest.raises(
        UserError, match="encoding gb18030 is for csv, .*, but the files are parquet"
    ):
        FileOptions(encoding="gb18030").check(["parquet"])
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(UserError, match="cannot be told from its bytes; name it with --encoding"):
        list(read_rows(str(path), options=FileOptions(encoding="auto")))


@pytest.mark.parametrize(
    "start, kind",
    [
        (b"PAR1\x15\x04", "a parquet file: --file_format parquet reads it"),
        (b"PK\x03\x04\x14", "a zip or Excel file: save its table as csv"),
        (b"\x1f\x8b\x08", "a gzip file: its name must end with .gz"),
    ],
)
def test_a_file_that_is_no_text_is_called_what_it_is(tmp_path, start, kind):
    path = tmp_path / "a.csv"
    path.write_bytes(start + b"\xff\xfe\x80" * 9)
    with pytest.raises(UserError, match=f"not UTF-8 text: .*; it is {kind}"):
        list(read_rows(str(path)))


def test_utf8_that_is_read_as_something_else_is_noted(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "schöne Größe\n" * 10, encoding="utf-8")
    assert len(list(read_rows(str(path), options=FileOptions(encoding="cp1252")))) == 10
    assert "a.csv is UTF-8, but is read as cp1252, as --encoding says" in capsys.readouterr().err
