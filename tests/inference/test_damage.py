"""Damaged model folders: every file, damaged in many ways, is refused in one line or does not matter."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer_ext.errors import UserError
from trainer_ext.inference import load_predictor

VALUES = (None, [], {}, "x", -1, 3.5, [None], 10**12, True)


def damaged(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Cut, overwritten or replaced."""
    yield from (("empty", b""), ("half", content[: len(content) // 2]), ("cut", content[:-3]))
    yield from (("garbage", b"\x00\xff\xfe garbage" * 7), ("zeros", bytes(len(content))))
    yield (
        "overwritten",
        content[: len(content) // 3] + b"\xff" * 8 + content[len(content) // 3 + 8 :],
    )


def damaged_json(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Another kind of value in every place, and every place gone."""
    yield from (
        (text, text.encode())
        for text in ("[]", "null", "7", '"x"', "{}", "[1, 2]", "NaN", "[" * 10**5)
    )
    for place in places(json.loads(content)):
        for value in ("gone", *VALUES):
            copy = json.loads(content)
            inner = copy
            for key in place[:-1]:
                inner = inner[key]
            if value == "gone":
                del inner[place[-1]]
            else:
                inner[place[-1]] = value
            yield f"{'.'.join(map(str, place))}: {value!r}", json.dumps(copy).encode()


def places(value, above: tuple = ()) -> Iterator[tuple]:
    """Every key, down to the third level, and the first item of every list."""
    if isinstance(value, dict) and len(above) < 3:
        for key, inner in value.items():
            yield (*above, key)
            yield from places(inner, (*above, key))
    elif isinstance(value, list) and value:
        yield (*above, 0)


def tried(folder: Path) -> str | None:
    """None when the folder answers or is refused in one line, else what it raised."""
    try:
        json.dumps(load_predictor(folder, num_threads=1).predict(["good food"]))
    except UserError as error:
        return "more than a line" if "\n" in str(error) else None
    except BaseException as error:  # a panic of Rust is no Exception
        return repr(error)
    return None


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    """A copy of a small ONNX folder."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.onnx"])
def test_damaged_files(folder, name):
    """Wrong content, and wrong kinds of values."""
    content = (folder / name).read_bytes()
    ways = [*damaged(content), *(damaged_json(content) if name == "config.json" else ())]
    found = {}
    for way, bad in ways:
        (folder / name).write_bytes(bad)
        found[way] = tried(folder)
    assert {way: what for way, what in found.items() if what} == {}
    assert len(found) > 5


def test_a_tokenizer_that_panics(folder):
    """The Rust side then raises what is no `Exception`."""
    content = json.loads((folder / "tokenizer.json").read_text())
    for value in (None, [], {}, "x"):
        (folder / "tokenizer.json").write_text(
            json.dumps(content | {"post_processor": value, "model": value})
        )
        assert tried(folder) is None


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.onnx"])
def test_what_stands_in_a_files_place(folder, name):
    """A folder, links that lead nowhere or in a circle, nothing."""
    path = folder / name
    path.unlink()
    assert tried(folder) is None
    path.mkdir()
    assert tried(folder) is None
    path.rmdir()
    for target in ("/nonexistent/x", path):
        path.symlink_to(target)
        assert tried(folder) is None
        path.unlink()


@pytest.mark.parametrize("name", ["export_report.json", "folds.json", "seeds.json", "cv.json"])
def test_damaged_lists(folder, tmp_path, name):
    """Of an export, and of folds and seeds."""
    contents = {
        "export_report.json": {
            "variants": [{"name": "onnx", "file": "model.onnx"}],
            "chosen": "onnx",
            "passed": True,
        },
        "folds.json": {"folds": 2, "fold_repeats": 1},
        "seeds.json": {"seeds": [1, 2]},
        "cv.json": {"weights": {"fold-0": 0.5, "fold-1": 0.5}, "metric": "accuracy"},
    }
    place = folder if name == "export_report.json" else tmp_path / "whole"
    if place != folder:
        for member in ("fold-0", "fold-1", "seed-1", "seed-2"):
            (shutil.copytree(folder, place / member) / "metrics.json").write_text("{}")
    content = json.dumps(contents[name]).encode()
    found = {}
    for way, bad in [*damaged(content), *damaged_json(content)]:
        (place / name).write_bytes(bad)
        found[way] = tried(place)
    assert {way: what for way, what in found.items() if what} == {}


def test_a_head_of_another_model(folder, tiny_aspects):
    """Its numbers are not paired with labels that are not its own."""
    shutil.copy(Path(tiny_aspects) / "model.onnx", folder / "model.onnx")
    with pytest.raises(UserError, match="they are not of the same model"):
        load_predictor(folder).predict(["good"])
