"""Smoothing: the factors by hand, the same answers in float, nearer ones in INT8, and through a whole export."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.families import save_ours, save_rows
from tests.inference.conftest import WORDS, save_graph, save_model
from trainer_ext.export.int8_smoothing import (
    Seen,
    best_factors,
    smooth_activations,
    smoothing_factors,
)
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.quantise import Int8Setting, quantise
from trainer_ext.export.run import export_model
from trainer_ext.inference.loading import load_single

WIDTH = 16
OUTLIER = 3  # channel
SILENT = 5  # channel
TEXTS = ["good food", "bad staff dull", "food", "dull dull good bad"]
SETTING = Int8Setting("x", quantise_embeddings=False)


def save_products(folder: Path, shared: bool = False) -> Path:
    """Lookup -> two products of one input, one more of their product -> sum over the tokens.

    Args:
        folder: gets the model.
        shared: whether the two products have the same weights.
    """
    save_model(folder)
    draw = np.random.default_rng(0)
    table = draw.normal(size=(len(WORDS), WIDTH)).astype(np.float32)
    query = draw.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    table[:, OUTLIER] *= 100
    query[OUTLIER] /= 100
    table[:, SILENT] = 0
    key = draw.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    key[OUTLIER] /= 100
    tensors = {
        "table": table,
        "last": np.array([2], dtype=np.int64),
        "tokens": np.array([1], dtype=np.int64),
        "query": query,
        "key": key,
        "down": draw.normal(size=(WIDTH, 3)).astype(np.float32),
    }
    second = "query" if shared else "key"
    nodes = [
        helper.make_node("MatMul", ["kept", "query"], ["q"], name="/layer.0/query/MatMul"),
        helper.make_node("MatMul", ["kept", second], ["k"], name="/layer.0/key/MatMul"),
        helper.make_node("Mul", ["q", "k"], ["both"]),
        helper.make_node("MatMul", ["both", "down"], ["d"], name="/layer.0/down/MatMul"),
        helper.make_node("ReduceSum", ["d", "tokens"], ["logits"], keepdims=0),
    ]
    save_graph(folder / "model.onnx", tensors, nodes, (3,))
    return folder / "model.onnx"


def smooth(path: Path, skip: tuple[str, ...] = ()) -> dict[str, int | str]:
    """Write smooth.onnx beside a model."""
    predictor = load_single(path.parent, 1, "cpu", file_name=path.name)
    target = path.with_name("smooth.onnx")
    return smooth_activations(path, target, predictor, TEXTS, skip=skip).to_dict()


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    graph = onnx.load(path).graph
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def products_of(path: Path) -> dict[str, onnx.NodeProto]:
    nodes = onnx.load(path).graph.node
    return {node.name: node for node in nodes if node.op_type == "MatMul"}


def logits_of(path: Path) -> np.ndarray:
    return load_single(path.parent, 1, "cpu", file_name=path.name).logits(TEXTS)


def test_factors_are_those_of_equation_4():
    activations = np.array([16, 81, 0, 2, 1e-9, 1e9])
    weights = np.array([0.0625, 1, 3, 0, 1, 1])
    found = smoothing_factors(activations, weights, strength=0.75)
    # 16^0.75 / 0.0625^0.25 = 8 / 0.5; unused channels stay; the last two are cut off.
    np.testing.assert_allclose(found, [16, 27, 1, 1, 1e-3, 1e3])


def seen_of(samples: list[np.ndarray]) -> Seen:
    return Seen(np.abs(np.concatenate(samples)).max(axis=0), samples)


def test_an_input_without_outliers_stays_as_it_is():
    draw = np.random.default_rng(0)
    values = draw.choice([-1.0, 1.0], size=(20, WIDTH)).astype(np.float32)
    weights = draw.choice([-0.5, 0.5], size=(WIDTH, 8)).astype(np.float32)
    assert best_factors(weights, seen_of([values])) is None, "all channels would be divided alike"


def test_an_outlier_moves_into_the_weights():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(20, WIDTH)).astype(np.float32)
    values[:, OUTLIER] *= 100
    weights = draw.normal(size=(WIDTH, 8)).astype(np.float32)
    weights[OUTLIER] /= 100
    factors = best_factors(weights, seen_of([values]))
    assert factors is not None and factors.argmax() == OUTLIER
    assert factors[OUTLIER] > 10 * np.delete(factors, OUTLIER).max()


def test_products_of_one_input_share_one_division(tmp_path):
    path = save_products(tmp_path)
    assert smooth(path) == {"smooth": 2}
    after = tmp_path / "smooth.onnx"
    before, products = tensors_of(path), products_of(after)
    assert products.keys() == products_of(path).keys(), "the gate's search knows nodes by name"
    query, key = products["/layer.0/query/MatMul"], products["/layer.0/key/MatMul"]
    assert query.input[0] == key.input[0] != "kept"
    (division,) = [node for node in onnx.load(after).graph.node if node.output[0] == query.input[0]]
    assert division.op_type == "Mul" and division.input[0] == "kept"
    found = tensors_of(after)
    # All words of the texts and [CLS]: rows 0 (padding) and 1 (unknown) of the table are not met.
    largest = np.abs(before["table"][2:]).max(axis=0)
    largest_weights = np.abs(np.hstack([before["query"], before["key"]])).max(axis=1)
    factors = largest**0.75 / largest_weights**0.25
    factors[SILENT] = 1
    assert found[division.input[1]].dtype == np.float32
    np.testing.assert_allclose(found[division.input[1]], 1 / factors, rtol=1e-5)
    for name, product in (("query", query), ("key", key)):
        expected = before[name] * factors[:, None]
        np.testing.assert_allclose(found[product.input[1]], expected, rtol=1e-5)


def test_float_answers_stay_and_int8_comes_nearer(tmp_path):
    path = save_products(tmp_path)
    smooth(path)
    expected = logits_of(path)
    found = logits_of(tmp_path / "smooth.onnx")
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.std())
    errors = []
    for source in (path, tmp_path / "smooth.onnx"):
        answers = logits_of(quantise(source, tmp_path, SETTING))
        errors.append(np.sqrt(((answers - expected) ** 2).mean()))
    plain, smoothed = errors
    assert smoothed < plain / 3


def test_the_pass_can_be_left_out(tmp_path):
    path = save_products(tmp_path)
    assert smooth(path, ("smooth",)) == {"smooth": "skipped"}
    before, after = tensors_of(path), tensors_of(tmp_path / "smooth.onnx")
    np.testing.assert_array_equal(after["query"], before["query"])
    assert products_of(tmp_path / "smooth.onnx")["/layer.0/query/MatMul"].input[0] == "kept"


def test_shared_weights_stay_as_they_are(tmp_path):
    path = save_products(tmp_path, shared=True)
    assert smooth(path) == {"smooth": 1}
    products = products_of(tmp_path / "smooth.onnx")
    assert list(products["/layer.0/query/MatMul"].input) == ["kept", "query"]
    assert products["/layer.0/down/MatMul"].input[0] != "both"


@pytest.mark.parametrize(
    "skip, places",
    [
        # Of two layers with the last one's query on the first token alone: 4 and 5 inputs of products.
        ((), 9),
        (("graph",), 8),
        (("smooth",), "skipped"),
    ],
)
def test_a_whole_export(tmp_path, skip, places):
    checkpoint = save_ours(tmp_path / "checkpoint", "bert")
    rows = save_rows(tmp_path / "rows.jsonl")
    out = tmp_path / "onnx"
    # A random model answers by chance: only its logits are judged.
    options = ExportOptions(checkpoint, out, str(rows), max_metric_drop=100, skip=skip)
    report = export_model(options)
    assert report.passed, [variant.why for variant in report.variants]
    stages = {stage.name: stage for stage in report.stages}
    assert stages["int8"].details["smooth"] == places
    names = tensors_of(out / "model_quantized.onnx")
    has_vectors = any("smooth_inverse" in name for name in names)
    assert has_vectors is (places != "skipped")
    assert not any("smooth" in name for name in tensors_of(out / "model.onnx"))
