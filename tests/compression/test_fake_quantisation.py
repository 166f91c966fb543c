"""Fake quantisation against ONNX Runtime's operator, the export's own weights, and an exported model."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from transformers import AutoTokenizer

from tests.conftest import labelled_lines, run_ok
from trainer_ext.compression.fake_quantisation import (
    FakeQuantisedLinear,
    channel_steps,
    fake_quantise,
    fake_quantise_rows,
    fake_quantise_texts,
    fake_quantise_weights,
    round_pairs,
)
from trainer_ext.export.int8_embeddings import quantise_rows
from trainer_ext.export.int8_weights import quantise_pairs
from trainer_ext.inference import load_predictor
from trainer_ext.modeling.session import load_checkpoint


@pytest.fixture(scope="module")
def dynamic_quantize_linear() -> onnxruntime.InferenceSession:
    """DynamicQuantizeLinear, and back to floats."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["L", "D"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["L", "D"])
    graph = helper.make_graph(nodes, "levels", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("shift", [-3.0, 0.0, 0.4, 50.0])
def test_activations_are_those_of_dynamic_quantize_linear(dynamic_quantize_linear, shift):
    """Text by text, whatever the padding holds."""
    generator = np.random.default_rng(0)
    values = generator.normal(shift, 1, (5, 9, 8)).astype(np.float32)
    lengths = [9, 1, 4, 7, 2]
    mask = np.array([[token < length for token in range(9)] for length in lengths])
    values[~mask] = 1e4
    ours = fake_quantise_texts(torch.tensor(values), torch.tensor(mask.astype(int)))
    for row, length in enumerate(lengths):
        (expected,) = dynamic_quantize_linear.run(None, {"x": values[row, :length]})
        assert np.allclose(ours[row, :length], expected, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_text_of_equal_numbers(dynamic_quantize_linear, value):
    values = np.full((1, 2, 3), value, np.float32)
    (expected,) = dynamic_quantize_linear.run(None, {"x": values[0]})
    assert np.allclose(fake_quantise_texts(torch.tensor(values))[0], expected, atol=1e-6)


@pytest.mark.parametrize("inputs", [1, 7, 64])
def test_weights_are_those_of_the_export(inputs):
    generator = np.random.default_rng(inputs)
    weight = generator.standard_t(3, (33, inputs)).astype(np.float32)
    weight[5] = 0
    integers, scales = quantise_pairs(weight.T)
    tensor = torch.tensor(weight)
    ours = fake_quantise_weights(tensor, channel_steps(tensor))
    assert np.allclose(ours.numpy().T, integers * scales, atol=1e-6)


def test_a_pair_gives_way_as_in_the_export():
    """127 and 101 are 100 too many: 50 each."""
    assert round_pairs(torch.tensor([[127.0, 101.0, 126.0]])).tolist() == [[77, 51, 126]]


def test_rows_are_those_of_the_export():
    table = np.random.default_rng(1).normal(size=(70, 12)).astype(np.float32)
    table[3] = 0
    integers, scales = quantise_rows(table)
    assert np.allclose(fake_quantise_rows(torch.tensor(table)), integers * scales, atol=1e-7)


def test_gradients_pass_the_rounding():
    """As those of a product without it, taken at the rounded numbers."""
    layer = nn.Linear(6, 4)
    layer.__class__ = FakeQuantisedLinear
    layer.steps, layer.age, layer.version, layer.tokens = None, 0, 0, None
    values = torch.randn(3, 5, 6, requires_grad=True)
    layer(values).sum().backward()
    rounded_weight = fake_quantise_weights(layer.weight, layer.steps).detach()
    rounded_values = fake_quantise_texts(values).detach()
    assert torch.allclose(values.grad, rounded_weight.sum(0).expand(3, 5, 6))
    assert torch.allclose(layer.weight.grad, rounded_values.sum((0, 1)).expand(4, 6))


@pytest.mark.parametrize("pooling", ["cls", pytest.param("mean", marks=pytest.mark.slow)])
def test_the_export_answers_as_the_model_in_training(pooling, topic_flags, topic_files, tmp_path):
    """With the INT8 file's own products and embeddings; the last layer of cls pooling reads one token."""
    folder = tmp_path / "model"
    qat = ("--compression", "qat", "--pooling", pooling, "--max_steps", "48")
    run_ok("train.py", *topic_flags, *qat, "--output_dir", folder)
    run_ok(
        "export.py",
        *(folder, "--output_dir", tmp_path / "onnx", "--eval_file", topic_files["validation"]),
        *("--max_metric_drop", "100", "--skip", "native"),
    )
    report = json.loads((tmp_path / "onnx/export_report.json").read_text())
    (int8,) = [stage for stage in report["stages"] if stage["name"] == "int8"]
    assert int8["details"]["smooth"] == "not done: the model was trained for INT8"
    model = load_checkpoint(folder).eval()
    fake_quantise(model)
    predictor = load_predictor(tmp_path / "onnx", num_threads=1, file_name="model_quantized.onnx")
    texts = [text for text, _ in labelled_lines(30, seed=8)]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        ours = model(**inputs).logits.numpy()
    if pooling == "mean":  # which learns these rows in so few steps; cls does not, rounded or not
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["eval_f1_macro"] > 0.9
    float_logits = load_predictor(tmp_path / "onnx", file_name="model.onnx").logits(texts)
    exported = predictor.logits(texts)
    assert np.median(np.abs(exported - ours)) < 1e-5
    assert np.abs(exported - ours).max() < 1e-2
    assert np.median(np.abs(exported - float_logits)) > 1e-4, "rounding shows"


def test_evaluation_rounds_the_weights_as_they_are():
    """Also right after an average or a checkpoint was copied into the model."""
    layer = nn.Linear(6, 4)
    layer.__class__ = FakeQuantisedLinear
    layer.steps, layer.age, layer.version, layer.tokens = None, 0, 0, None
    values = torch.randn(2, 6)
    layer.eval()(values)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(4, 6) ** 3)
    weight = fake_quantise_weights(layer.weight, channel_steps(layer.weight))
    expected = nn.functional.linear(fake_quantise_texts(values), weight, layer.bias)
    assert torch.equal(layer(values), expected)
