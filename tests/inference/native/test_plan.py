"""encoder.json: a wrong number in it is one line that names the file, never a crash."""

import copy
import json
from pathlib import Path

import pytest

from tests.inference.native.small_encoder import small_encoder
from trainer_ext.errors import UserError
from trainer_ext.inference.native import open_native
from trainer_ext.inference.native.library import library_here
from trainer_ext.inference.native.plan import FORMAT, Plan, read_plan
from trainer_ext.inference.native.session import Encoder

needs_library = pytest.mark.skipif(library_here() is None, reason="no library for this CPU")
BEYOND = {"offset": 10**9, "type": "int8", "shape": [24, 72]}
# The place, what is written there, and what is said.
DAMAGE = [
    (("hidden",), 0, "hidden 0 is not a whole number above 0"),
    (("hidden",), "24", "hidden '24' is not"),
    (("hidden",), 27, r"a table is int8 \(50, 24\), but int8 50 x 27 is needed"),
    (("head_size",), 0, "head_size 0 is not a whole number above 0"),
    (("head_size",), 2**80, "head_size .* is not a whole number"),
    (("head_size",), 7, "heads 7 wide do not divide 24"),
    (("epsilon",), "x", "could not convert"),
    (("epsilon",), float("nan"), "epsilon nan is not a number above 0"),
    (("attention_scale",), None, "float"),
    (("attention_scale",), 10**400, "too large"),
    (("output",), None, "output is not the name of a tensor"),
    (("layers",), [], "there are no layers"),
    (("layers",), {}, "there are no layers"),
    (("layers", 0), None, "subscriptable"),
    (("layers", 0, "query"), {}, "a layer before the last computes the first token only"),
    (("layers", 1, "query"), {}, r"joined is int8 \(24, 72\), but int8 24 x 48 is needed"),
    (("layers", 1, "outer"), None, "subscriptable"),
    (
        ("layers", 1, "output", "weights", "shape"),
        [16, 24],
        r"joined is int8 \(24, 72\), but int8 24 x 48",
    ),
    (("layers", 1, "output", "weights", "shape"), [24], "not enough values"),
    (("layers", 1, "inner", "weights", "shape"), [24, 32], "the bias of inner|neither 32 floats"),
    (("layers", 1, "inner", "bias"), BEYOND, "is not a place in the file"),
    (("layers", 1, "inner", "bias", "shape"), [20], "the bias of inner is float32"),
    (("layers", 1, "inner", "weights"), BEYOND, "is not a place in the file"),
    (("layers", 1, "inner", "weights", "offset"), -1, "is not a place in the file"),
    (("layers", 1, "inner", "weights", "type"), "int4", "is not a place in the file"),
    (("layers", 1, "inner", "weights", "shape"), [40, 24], r"inner is int8 \(40, 24\)"),
    (("layers", 1, "inner", "weights", "shape"), [2**32, 2**32], "is not a place in the file"),
    (("layers", 1, "inner", "weights", "shape"), [], "is not a place in the file"),
    (("layers", 1, "inner", "scales", "shape"), [2], "neither 40 floats nor one"),
    (("layers", 1, "output_norm", "weight"), None, "is not a place in the file"),
    (("layers", 1, "output_norm", "weight", "shape"), [23], "the weight of a normalisation"),
    (("embedding_norm",), 7, "subscriptable"),
    (("tables",), [], "there are no tables, or more than 4"),
    (("tables", 0, "row_of"), "colour", "colour"),
    (("tables", 0, "offset"), 10**12, "is not a number of a row"),
    (("tables", 0, "scales", "shape"), [49, 1], "the scales of a table"),
    (("tables", 1, "rows", "type"), "int8", r"a table is int8 \(92, 24\), but float32"),
]


def changed(content: dict, place: tuple, value: object) -> dict:
    """A copy with another value in one place."""
    whole = copy.deepcopy(content)
    inner = whole
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return whole


def places_of(value: object, above: tuple = ()) -> list[tuple]:
    """Every key and item below a value."""
    found = []
    items: list = []
    if isinstance(value, dict):
        items = list(value.items())
    if isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        found.append((*above, key))
        found += places_of(inner, (*above, key))
    return found


@needs_library
@pytest.mark.parametrize("place, value, message", DAMAGE)
def test_what_does_not_describe_an_encoder(place, value, message, tmp_path):
    small = small_encoder()
    plan = small.save(tmp_path)
    damaged = Plan(
        tmp_path / "model_quantized.onnx", changed(plan.content, place, value), plan.path
    )
    with pytest.raises(UserError, match=message) as caught:
        Encoder(library_here(), damaged)
    assert str(plan.path) in str(caught.value)


@needs_library
@pytest.mark.parametrize("value", [None, [], {}, "x", -1, 0, 3.5, 10**12, True, [None]])
def test_any_wrong_value_is_one_line_or_does_not_matter(value, tmp_path):
    """In every place of the plan."""
    small = small_encoder(sizes=((3, 40),), is_first_token_only=True)
    plan = small.save(tmp_path)
    file = tmp_path / "model_quantized.onnx"
    refused = 0
    for place in places_of(plan.content):
        damaged = Plan(file, changed(plan.content, place, value), plan.path)
        message = refusal(damaged)
        assert not message or (str(plan.path) in message and "\n" not in message)
        refused += bool(message)
    assert refused > 30


def refusal(plan: Plan) -> str:
    """What is said of a plan; empty if it is taken."""
    try:
        Encoder(library_here(), plan)
    except UserError as error:
        return str(error)
    return ""


def write_plan(folder: Path, content: object) -> Path:
    """Write encoder.json beside an INT8 file of 11 bytes; return that file."""
    file = folder / "model_quantized.onnx"
    file.write_bytes(b"not a model")
    (folder / "native").mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "native/encoder.json").write_text(text)
    return file


PLAN_OF_IT = {"format": FORMAT, "file": "model_quantized.onnx", "bytes": 11}


@pytest.mark.parametrize(
    "change",
    [{"format": 3}, {"format": [1]}, {"file": "model.onnx"}, {"bytes": 12}, {"bytes": "11"}],
)
def test_a_plan_of_another_file_is_none(change, tmp_path):
    """An export that was written over, or one of a later version: ONNX Runtime answers."""
    file = write_plan(tmp_path, PLAN_OF_IT)
    assert read_plan(file).content == PLAN_OF_IT
    write_plan(tmp_path, PLAN_OF_IT | change)
    assert read_plan(file) is None
    assert open_native(file, 1, "auto") is None
    with pytest.raises(UserError, match="runtime native cannot run .* no plan for"):
        open_native(file, 1, "auto", is_needed=True)


def test_a_plan_of_an_older_export_is_read(tmp_path):
    file = write_plan(tmp_path, PLAN_OF_IT | {"format": 1})
    assert read_plan(file).content["format"] == 1


@pytest.mark.parametrize(
    "change, message",
    [({"heads": 5}, "5 heads do not divide 24"), ({"heads": 0}, "zero"), ({}, "'heads'")],
)
@needs_library
def test_heads_of_an_older_plan(change, message, tmp_path):
    plan = small_encoder().save(tmp_path)
    del plan.content["head_size"]
    older = Plan(tmp_path / "model_quantized.onnx", plan.content | change, plan.path)
    assert message in refusal(older)


@pytest.mark.parametrize("content", ["", "{", "[1]", "7", "[" * 10**5, "\x00"])
def test_what_is_no_plan(content, tmp_path):
    file = write_plan(tmp_path, content)
    with pytest.raises(UserError, match="encoder.json is not"):
        open_native(file, 1, "auto")


@needs_library
def test_a_plan_without_anything_in_it(tmp_path):
    file = write_plan(tmp_path, PLAN_OF_IT | {"is_pair_safe": True})
    with pytest.raises(UserError, match="encoder.json does not describe an encoder: .*'hidden'"):
        open_native(file, 1, "auto")
