"""Files in numbered parts."""

import builtins
import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.open import open_text
from trainer_ext.data.io.readers import read_rows
from trainer_ext.errors import UserError


def write_parts(folder: Path, data: bytes, cuts: list[int], packed: bool) -> str:
    """`data` cut at the places; returns the first part's path."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for old in folder.glob("rows.csv.part*"):
        old.unlink()
    for number, (start, end) in enumerate(zip(places, places[1:], strict=False), 1):
        piece = data[start:end]
        name = folder / f"rows.csv.part{number}{'.gz' * packed}"
        name.write_bytes(gzip.compress(piece) if packed else piece)
    return str(folder / f"rows.csv.part1{'.gz' * packed}")


@pytest.mark.parametrize("packed", [False, True])
def test_parts_are_one_file(tmp_path, packed):
    """One header; a cut inside a row, inside a character, and twelve parts in the order of their numbers."""
    text = "text,label\n" + "".join(f'"好\n{k}",{k % 2}\n' for k in range(50))
    path = write_parts(
        tmp_path, text.encode(), [12, 13, 14, 15, 100, 110, 200, 300, 350, 400, 410], packed
    )
    rows = [row.values for row in read_rows(path)]
    assert rows == [{"text": f"好\n{k}", "label": str(k % 2)} for k in range(50)]


def test_a_later_part_alone_is_refused(tmp_path):
    """Its first row is no header; and no part may be missing."""
    first = write_parts(tmp_path, b"text\na\nb\n", [7], packed=True)
    with pytest.raises(UserError, match=r"part2.gz is part 2 of a file: give .*rows.csv.part1.gz"):
        list(read_rows(first.replace("part1", "part2")))
    (tmp_path / "rows.csv.part2.gz").rename(tmp_path / "rows.csv.part3.gz")
    with pytest.raises(UserError, match="a part is missing, there are only 1, 3"):
        list(read_rows(first))


def test_other_files_beside_are_no_parts(tmp_path):
    first = write_parts(tmp_path, b"text\na\n", [], packed=False)
    (tmp_path / "other.csv.part2").write_bytes(b"x")
    (tmp_path / "rows.csv.part2.gz").write_bytes(b"x")
    assert [row.values for row in read_rows(first)] == [{"text": "a"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("parts")


@settings(deadline=None, max_examples=40)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.integers(0, 40), max_size=4),
    st.booleans(),
)
def test_any_text_in_any_parts(folder, text, cuts, packed):
    data = text.encode()
    with open_text(write_parts(folder, data, cuts, packed), newline="") as file:
        assert file.read() == data.decode("utf-8-sig")


@pytest.mark.parametrize("encoding", ["utf-8", "auto", "gb18030"])
@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv", "text,label\n好吃,1\n很差,0\n"),
        ("a.csv.gz", "text,label\n好吃,1\n很差,0\n"),
        ("a.jsonl", '{"text": "好吃", "label": "1"}\n'),
        ("a.json", '[{"text": "好吃", "label": "1"}]'),
        ("lines.json", '\n{"text": "好吃", "label": "1"}\n{"text": "很差", "label": "0"}\n'),
    ],
)
def test_a_file_is_opened_once(tmp_path, monkeypatch, name, content, encoding):
    """Also when its encoding is detected, or its first character says how it is read."""
    data = content.encode("utf-8" if encoding == "utf-8" else "gb18030")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    opened = []
    real = builtins.open

    def count(file, *args, **kwargs):
        opened.append(str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", count)
    rows = list(read_rows(str(tmp_path / name), options=FileOptions(encoding=encoding)))
    assert rows[0].values["text"] == "好吃" and opened.count(str(tmp_path / name)) == 1
