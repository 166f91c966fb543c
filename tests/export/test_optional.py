"""The stages `ort` and `fp16`: their files answer alike, and are used only where they were proven."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.inference.conftest import expected_logits, save_int8, save_model
from trainer_ext.export.float16 import convert_to_float16, drop_repeated_casts, judge_float16
from trainer_ext.export.gate import Variant
from trainer_ext.export.ort_format import judge_ort_format, save_operators, save_ort_format
from trainer_ext.inference import load_predictor
from trainer_ext.inference.hardware import instruction_set

TEXTS = ["good food", "bad staff dull", "good"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """An export with INT8 and the file prepared for this CPU, as its report says."""
    save_model(tmp_path)
    save_int8(tmp_path / "model_quantized.onnx")
    prepared = save_ort_format(tmp_path / "model_quantized.onnx")
    assert prepared == tmp_path / "model_quantized.ort"
    write_report(tmp_path)
    return tmp_path


def write_report(folder: Path, prepared: dict | None = None, **changes) -> None:
    """What the export says of these files; `prepared` changes what it says of the one in ORT format."""
    variants = []
    for name, file in (("int8", "model_quantized.onnx"), ("ort", "model_quantized.ort")):
        variants.append(
            {
                "name": name,
                "file": file,
                "bytes": (folder / file).stat().st_size,
                "dynamic_int8": True,
                "good": True,
            }
        )
    variants[1] |= prepared or {}
    report = {
        "chosen": "int8",
        "instruction_set": instruction_set(),
        "versions": {"onnxruntime": onnxruntime.__version__},
        "variants": variants,
        **changes,
    }
    (folder / "export_report.json").write_text(json.dumps(report))


def loaded(folder: Path, **kwargs) -> str:
    """The name of the file that answers."""
    return load_predictor(folder, 1, **kwargs).session.file_name


# --- ort ------------------------------------------------------------------------------------------------------------


def test_the_prepared_file_answers_to_the_bit(folder):
    prepared = load_predictor(folder, 1)
    assert prepared.session.file_name == "model_quantized.ort"
    assert not prepared.session.batch_invariant, "it is dynamic INT8 like its source"
    portable = load_predictor(folder, 1, file_name="model_quantized.onnx")
    assert portable.session.file_name == "model_quantized.onnx"
    assert np.array_equal(prepared.logits(TEXTS), portable.logits(TEXTS))


def test_elsewhere_the_portable_file_answers_without_an_error(folder):
    """Another CPU, another runtime, a file that is not the proven one, was refused, or is not there."""
    assert loaded(folder) == "model_quantized.ort"
    for prepared, changes in (
        ({}, {"instruction_set": "x86_64 mmx"}),
        ({}, {"versions": {"onnxruntime": "1.0.0"}}),
        ({}, {"versions": None}),
        ({"bytes": 1}, {}),
        ({"good": False}, {}),
        ({"file": "model.ort"}, {}),
    ):
        write_report(folder, prepared, **changes)
        assert loaded(folder) == "model_quantized.onnx", (prepared, changes)
    write_report(folder)
    (folder / "model_quantized.ort").unlink()
    assert loaded(folder) == "model_quantized.onnx"
    (folder / "export_report.json").unlink()
    assert loaded(folder) == "model_quantized.onnx"


def test_it_stands_for_its_source_only(folder):
    """Where the report chose the float model, INT8 is not run in disguise."""
    write_report(folder, chosen="onnx", variants=[{"name": "onnx", "file": "model.onnx"}])
    assert loaded(folder) == "model.onnx"


def test_the_operators_of_a_reduced_build(folder, caplog):
    """As the runtime's own tool writes them; a scratch folder's path stays out, and the tool's notes do."""
    handlers = list(logging.getLogger().handlers)
    lines = save_operators(folder / "model_quantized.ort")
    assert logging.getLogger().handlers == handlers and not caplog.records
    domains = {line.split(";")[0] for line in lines}
    assert "ai.onnx" in domains
    text = (folder / "required_operators.config").read_text()
    assert "DynamicQuantizeLinear" in text and "Gather" in text and str(folder) not in text
    for line in lines:
        assert line in text and "{" not in line
    with_types = (folder / "required_operators_and_types.config").read_text()
    assert 'DynamicQuantizeLinear{"outputs": {"0": ["uint8_t"]}}' in with_types


@pytest.mark.parametrize(
    "difference, source_is_good, good",
    [(0.0, True, True), (1e-7, True, False), (float("nan"), True, False), (0.0, False, False)],
)
def test_the_verdict_on_ort(difference, source_is_good, good):
    source = Variant("int8", "model_quantized.onnx", 1, 0.9, dynamic_int8=True)
    source.good = source_is_good
    variant = Variant("ort", "model_quantized.ort", 1, 0.9)
    judge_ort_format(variant, source, difference)
    assert variant.good == good and variant.dynamic_int8
    assert variant.setting == f"onnxruntime {onnxruntime.__version__}"


# --- fp16 -----------------------------------------------------------------------------------------------------------


def test_half_precision_of_small_integers_is_exact(tmp_path):
    """They have float16s of their own; inputs and outputs are as before."""
    folder = save_model(tmp_path)
    path = convert_to_float16(folder / "model.onnx", folder)
    graph = onnx.load(path).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert kinds["table"] == TensorProto.FLOAT16
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.checker.check_model(onnx.load(path))
    logits = load_predictor(folder, 1, file_name="model_fp16.onnx").logits(TEXTS)
    assert logits.tolist() == [expected_logits(text) for text in TEXTS]


def test_a_cast_that_the_converter_makes_twice_is_kept_once():
    """onnxruntime refuses a graph with two nodes of one name."""
    cast = helper.make_node("Cast", ["x"], ["y"], name="a", to=TensorProto.FLOAT)
    roots = [helper.make_node("Sqrt", ["y"], [name], name=name) for name in ("b", "c")]
    graph = helper.make_graph([cast, cast, *roots], "g", [], [])
    model = helper.make_model(graph)
    drop_repeated_casts(model)
    assert [node.name for node in model.graph.node] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "difference, good", [(0.001, True), (0.01, True), (0.011, False), (float("nan"), False)]
)
def test_the_verdict_on_fp16(difference, good):
    variant = Variant("fp16", "model_fp16.onnx", 1, 0.9, rms_relative_diff=difference)
    judge_float16(variant)
    assert variant.good == good
