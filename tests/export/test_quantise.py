"""The whole quantiser on a small model with every kind of product: what is in the file, and what it answers."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.versions import needs_optimum
from trainer_ext.export import quantise as quantiser
from trainer_ext.export.int8_embeddings import quantise_rows
from trainer_ext.export.int8_weights import has_exact_products, is_pair_safe, quantise_pairs
from trainer_ext.export.quantise import Int8Setting, matmul_weights, quantise
from trainer_ext.inference import onnx_session
from trainer_ext.inference.onnx_session import OnnxSession, is_marked_exact

GENERATOR = np.random.default_rng(0)
WIDTH = 33  # odd: the last input of a product has no neighbour
TENSORS = {
    "table": GENERATOR.normal(size=(80, WIDTH)).astype(np.float32),
    "query": GENERATOR.normal(size=(WIDTH, WIDTH)).astype(np.float32),
    "key": GENERATOR.normal(size=(WIDTH, WIDTH)).astype(np.float32),
    "bias": GENERATOR.normal(size=WIDTH).astype(np.float32),
    "up": GENERATOR.normal(size=(WIDTH, 70)).astype(np.float32),
    # As torch holds them: (outputs, inputs).
    "head": GENERATOR.normal(size=(3, 70)).astype(np.float32),
    "head_bias": GENERATOR.normal(size=3).astype(np.float32),
    "flat": np.array([-1, 70]),
}
TENSORS["up"][:, 5] = 0
IDS = np.array([[0, 79, 5, 17, 17]])
EVERYTHING = Int8Setting("all")


@pytest.fixture(autouse=True)
def forget_weights():
    quantiser.pair_safe_weights.cache_clear()


@pytest.fixture
def model(tmp_path) -> Path:
    """Lookup -> two products of one input, multiplied with each other -> a product -> a Gemm."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"], "embeddings"),
        helper.make_node("MatMul", ["x", "query"], ["q"], "query"),
        helper.make_node("Add", ["q", "bias"], ["qb"], "query_bias"),
        helper.make_node("MatMul", ["x", "key"], ["k"], "key"),
        helper.make_node("Transpose", ["k"], ["kt"], "transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["qb", "kt"], ["scores"], "scores"),
        helper.make_node("MatMul", ["scores", "x"], ["context"], "context"),
        helper.make_node("MatMul", ["context", "up"], ["u"], "up"),
        helper.make_node("Reshape", ["u", "flat"], ["f"], "reshape"),
        helper.make_node("Gemm", ["f", "head", "head_bias"], ["logits"], "head", transB=1),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in TENSORS.items()]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["tokens", 3])
    graph = helper.make_graph(nodes, "g", [ids], [logits], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def tensors_of(path):
    graph = onnx.load(path).graph
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def operators_of(path):
    names = [node.op_type for node in onnx.load(path).graph.node]
    return {name: names.count(name) for name in names}


def run(path):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": IDS})[0]


def dynamic(values):
    """DynamicQuantizeLinear, as the ONNX specification writes it; returns the values that the integers stand for."""
    low, high = min(values.min(), 0), max(values.max(), 0)
    scale = np.float32((high - low) / 255)
    point = np.clip(np.rint(-low / scale), 0, 255)
    return (np.clip(np.rint(values / scale) + point, 0, 255) - point) * scale


def expected_logits():
    rows, scales = quantise_rows(TENSORS["table"])
    weights = {}
    for name in ("query", "key", "up", "head"):
        floats = TENSORS[name].T if name == "head" else TENSORS[name]
        quantised, channel_scales = quantise_pairs(floats)
        weights[name] = quantised * channel_scales
    x = (rows * scales)[IDS[0]]
    query = dynamic(x) @ weights["query"] + TENSORS["bias"]
    key = dynamic(x) @ weights["key"]
    context = query @ key.T @ x
    up = dynamic(context) @ weights["up"]
    return dynamic(up) @ weights["head"] + TENSORS["head_bias"]


@pytest.mark.parametrize("with_optimum", [pytest.param(True, marks=needs_optimum), False])
def test_the_file_answers_as_numpy_does(model, monkeypatch, with_optimum):
    monkeypatch.setattr(quantiser, "has_optimum", lambda: with_optimum)
    path = quantise(model, model.parent, EVERYTHING)
    logits = run(path)
    expected = expected_logits()
    # A value that lies between two steps of an activation may be rounded to either.
    np.testing.assert_allclose(logits, expected, atol=0.01 * np.abs(expected).max())
    assert np.corrcoef(logits.ravel(), run(model).ravel())[0, 1] > 0.999


@needs_optimum
def test_nobody_is_warned_that_a_config_is_missing(model, monkeypatch, caplog):
    import optimum.onnxruntime.quantization  # which keeps its records from the root logger

    monkeypatch.setattr(logging.getLogger(optimum.__name__), "propagate", True)
    # Without a config transformers guesses the architecture from the path: this one names none.
    with TemporaryDirectory(prefix="0") as folder:
        path = Path(folder) / "0.onnx"
        path.write_bytes(model.read_bytes())
        quantise(path, path.parent, EVERYTHING)
    assert caplog.messages == []


def test_all_products_of_weights_are_exact_everywhere(model):
    path = quantise(model, model.parent, EVERYTHING)
    weights = {name: value for name, value in tensors_of(path).items() if "_quantized" in name}
    assert sorted(weights) == [f"{name}_quantized" for name in ("head", "key", "query", "up")]
    for value in weights.values():
        assert value.dtype == np.int8 and is_pair_safe(value)
    assert has_exact_products(onnx.load(path))
    # Query and key share one quantised input.
    counts = operators_of(path)
    assert counts["MatMulInteger"] == 4 and counts["DynamicQuantizeLinear"] == 3


@pytest.mark.parametrize(
    ("skip", "tables", "exact"),
    [
        ((), {"table_rows": np.int8, "table_scales": np.float32}, True),
        (("row_scales",), {"table_quantized": np.uint8, "table_scale": np.float32}, True),
        (("exact_weights",), {"table_rows": np.int8, "table_scales": np.float32}, False),
    ],
)
def test_passes_can_be_left_out(model, skip, tables, exact):
    path = quantise(model, model.parent, EVERYTHING, skip)
    found = tensors_of(path)
    kinds = {name: found[name].dtype for name in found if name in tables}
    assert kinds == tables
    assert is_marked_exact(path) is has_exact_products(onnx.load(path)) is exact


def test_embeddings_stay_in_float_if_the_setting_says_so(model):
    for setting in (
        Int8Setting("x", quantise_embeddings=False),
        Int8Setting("x", fp32_nodes=frozenset(["embeddings"])),
    ):
        found = tensors_of(quantise(model, model.parent, setting))
        np.testing.assert_array_equal(found["table"], TENSORS["table"])


def test_shapes_of_products_with_a_constant(model):
    """A Gemm's as a MatMul's."""
    assert matmul_weights(model) == {
        "query": (WIDTH, WIDTH),
        "key": (WIDTH, WIDTH),
        "scores": None,
        "context": None,
        "up": (WIDTH, 70),
        "head": (70, 3),
    }


def test_a_gemm_can_stay_in_float(model):
    path = quantise(model, model.parent, Int8Setting("x", fp32_nodes=frozenset(["head"])))
    assert operators_of(path)["MatMulInteger"] == 3
    np.testing.assert_array_equal(tensors_of(path)["head"], TENSORS["head"].T)


def test_weights_are_quantised_once_for_many_settings(model, monkeypatch):
    calls = []
    monkeypatch.setattr(quantiser, "quantise_pairs", lambda w: calls.append(1) or quantise_pairs(w))
    for nodes in ([], ["head"], ["query", "key"]):
        quantise(model, model.parent, Int8Setting("x", fp32_nodes=frozenset(nodes)))
    assert len(calls) == 4
    # Another file at the same place has weights of its own.
    changed = onnx.load(model)
    changed.graph.initializer[1].CopyFrom(numpy_helper.from_array(2 * TENSORS["query"], "query"))
    onnx.save(changed, model)
    path = quantise(model, model.parent, EVERYTHING)
    _, scales = quantise_pairs(2 * TENSORS["query"])
    np.testing.assert_array_equal(tensors_of(path)["query_scale"], scales)


@pytest.mark.parametrize("skip", [(), ("exact_weights",)])
def test_sessions_ask_for_slow_products_only_if_the_file_needs_them(model, monkeypatch, skip):
    """On a CPU without VNNI."""
    monkeypatch.setattr(onnx_session, "int8_saturates", lambda instructions: True)
    session = OnnxSession(quantise(model, model.parent, EVERYTHING, skip))
    options, key = session._session.get_session_options(), "session.x64quantprecision"
    if skip:
        assert options.get_session_config_entry(key) == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry(key)
