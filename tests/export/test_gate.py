"""What the gate lets through, and what quantisation touches."""

import logging
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.versions import needs_optimum
from trainer_ext.export import quantise as quantiser
from trainer_ext.export.gate import Variant, choose, judge_int8, judge_onnx, run_variant
from trainer_ext.export.latency import latencies_ms
from trainer_ext.export.quantise import (
    Int8Setting,
    matmul_weights,
    only_errors_logged,
    quantise,
)
from trainer_ext.export.report import build_report, report_table
from trainer_ext.tasks import TASKS, LabelSpace


def variants(
    onnx_diff: float = 1e-5, int8_metric: float = 0.898, int8_diff: float = 0.02
) -> list[Variant]:
    pytorch = Variant("pytorch", "model.safetensors", 400, 0.9)
    exported = Variant("onnx", "model.onnx", 400, 0.9, max_relative_diff=onnx_diff)
    int8 = Variant(
        "int8",
        "model_quantized.onnx",
        100,
        int8_metric,
        max_logit_diff=0.2,
        rms_relative_diff=int8_diff,
    )
    judge_onnx(exported)
    judge_int8(int8, pytorch, 0.5)
    return [pytorch, exported, int8]


@pytest.mark.parametrize(
    "changes, chosen, passed",
    [
        ({}, "int8", True),
        ({"int8_metric": 0.8949}, "onnx", False),  # 0.51 points
        ({"int8_metric": 0.95}, "int8", True),
        ({"int8_metric": float("nan")}, "onnx", False),
        ({"onnx_diff": 0.01, "int8_metric": 0.5}, "pytorch", False),
        ({"onnx_diff": 0.01}, "pytorch", False),
        ({"onnx_diff": 0.0011}, "pytorch", False),
        ({"onnx_diff": 0.0009}, "int8", True),
        ({"onnx_diff": float("nan"), "int8_metric": 0.5}, "pytorch", False),
        ({"int8_diff": 0.099}, "int8", True),
        ({"int8_diff": 0.101}, "onnx", False),  # the same metric is no proof
        ({"int8_diff": float("nan")}, "onnx", False),
    ],
)
def test_verdicts(changes, chosen, passed):
    found = variants(**changes)
    report = build_report(found, "f1_macro", 100, 0.5, 1)
    assert choose(found) == report.chosen == chosen
    assert report.passed is passed
    text = report_table(report)
    assert "chosen" in text and ("more than" in text) is not passed


def test_an_error_loses_by_growing():
    """0.006 more of an error is 0.6 points; 0.006 less is a gain."""
    pytorch = Variant("pytorch", "a", 1, metric=0.5)
    for metric, good in ((0.506, False), (0.504, True), (0.494, True)):
        int8 = Variant("int8", "b", 1, metric=metric)
        judge_int8(int8, pytorch, 0.5, greater_is_better=False)
        assert int8.good is good
    judge_int8(int8 := Variant("int8", "b", 1, metric=0.6), pytorch, 0.5, greater_is_better=False)
    assert int8.why == "the metric grows by 10.00 points, more than 0.5"


def test_exactly_the_limit_passes():
    found = variants(int8_metric=0.895)
    assert found[2].good or "0.50 points" in found[2].why  # floating point may fall on either side


SINGLE = TASKS["single_label"](LabelSpace(("label",), ("a", "b"), ("a", "b")))


def test_a_variant_is_scored_and_compared_with_the_reference(tmp_path):
    (file := tmp_path / "model.onnx").write_bytes(b"12345")
    logits, rows = np.array([[2.0, 1.0], [0.0, 1.0]]), (["x", "y"], [0, 0])
    fixed = [
        SimpleNamespace(task=SINGLE, logits_iter=lambda texts, k=k: iter(logits + [[0, 0], [k, 0]]))
        for k in (0, 3)
    ]
    first, reference = run_variant("pytorch", file, fixed[0], rows, None)
    assert (first.metric, first.max_logit_diff, first.label_agreement) == (
        pytest.approx(1 / 3),
        0,
        1,
    )
    second, _ = run_variant("onnx", file, fixed[1], rows, reference)
    assert (second.name, second.file, second.bytes, second.metric) == ("onnx", "model.onnx", 5, 1)
    assert (second.max_logit_diff, second.mean_logit_diff, second.label_agreement) == (3, 0.75, 0.5)


REGRESSION = TASKS["regression"](LabelSpace(("quality", "price"), (), ()))
SCORES = np.random.default_rng(0).normal([3, 600], [1, 100], (200, 2)).astype(np.float32)


def variant_of(task, tmp_path, logits, reference, labels) -> Variant:
    """Scored and compared as the gate does it."""
    (file := tmp_path / "model.onnx").touch()
    predictor = SimpleNamespace(task=task, logits_iter=lambda texts: iter(logits))
    return run_variant("x", file, predictor, (["x"] * len(labels), list(labels)), reference)[0]


@pytest.mark.parametrize("unit", [1e-4, 1e-3, 1.0, 1e3, 1e5])
@pytest.mark.parametrize(
    "difference, onnx, int8", [(1e-5, True, True), (0.003, False, True), (0.2, False, False)]
)
def test_the_unit_of_the_labels_decides_nothing(tmp_path, unit, difference, onnx, int8):
    """The same scores in metres and millimetres have the same verdict; so has one small target among large ones."""
    labels, scores = unit * SCORES, unit * SCORES
    off = scores + unit * difference * np.float32(
        [[1, 0]] * 100 + [[-1, 0]] * 100
    )  # of the spread of the first target
    variant = variant_of(REGRESSION, tmp_path, off, scores, labels)
    assert variant.max_relative_diff == pytest.approx(difference, rel=0.15)
    judge_onnx(variant)
    assert variant.good is onnx
    variant.good = True
    judge_int8(variant, Variant("pytorch", "x", 1, 0.0), 0.5, False, REGRESSION.metric_unit(labels))
    assert variant.good is int8


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e5])
def test_points_of_an_error_are_hundredths_of_the_labels_spread(tmp_path, unit):
    labels = unit * SCORES
    for error, good in ((0.004, True), (0.006, False)):
        pytorch, int8 = (
            Variant("x", "x", 1, metric=unit * 50.5 * value) for value in (0.5, 0.5 + error)
        )
        judge_int8(int8, pytorch, 0.5, greater_is_better=False, unit=REGRESSION.metric_unit(labels))
        assert int8.good is good


def test_large_numbers_that_hardly_differ_are_judged_by_what_float32_can_tell(tmp_path):
    """Years, prices in cents: a step of float32 is no difference."""
    labels = np.float32([[2_000_000.0, 1.0], [2_000_000.25, 1.0]] * 4)
    variant = variant_of(
        REGRESSION, tmp_path, np.nextafter(labels, np.float32(np.inf)), labels, labels
    )
    judge_onnx(variant)
    assert variant.good


def test_a_head_that_is_wrong_does_not_hide_behind_the_other(tmp_path):
    """Few intents beside many tags, each judged by its own spread."""
    space = {
        "columns": ["intent"],
        "classes": ["a", "b"],
        "values": ["a", "b"],
        "tags": ["O", "B-x"],
    }
    joint = TASKS["joint"](
        TASKS["joint"].label_space_class.from_dict(
            space | {"by_character": False, "neighbours": []}
        )
    )
    draw = np.random.default_rng(0)
    rows = [(draw.normal(size=2), 9 * draw.normal(size=(30, 2))) for _ in range(20)]
    off = [(intent + 0.5, tags) for intent, tags in rows]
    labels = [(k % 2, [0, 1] * 15) for k in range(20)]
    variant = variant_of(joint, tmp_path, off, joint.stack(rows), labels)
    assert variant.rms_relative_diff > 0.3


@pytest.mark.parametrize(
    "task, logits, labels, expected",
    [
        (SINGLE, [[1, 0]] * 3, [0, 1, 0], "'a'"),
        (SINGLE, [[1, 0]] * 3, [0, 0, 0], ""),  # there is but one
        (SINGLE, [[1, 0], [0, 1]], [0, 1], ""),
        (REGRESSION, [[1, 5], [1.0001, 5.001]], [[1, 7], [4, 4]], "all but the same scores"),
        (REGRESSION, [[1, 5], [1.0001, 6]], [[1, 7], [4, 4]], ""),
    ],
)
def test_a_model_that_answers_one_thing(task, logits, labels, expected):
    assert task.one_answer(np.array(logits), np.array(labels)) == expected


def save_products(path, **weights):
    """A model of one MatMul node a weight, and one of two activations."""
    tensors = {
        name: helper.make_tensor(name, TensorProto.FLOAT, shape, range(shape[0] * shape[1]))
        for name, shape in weights.items()
    }
    nodes, before = [], "x"
    for number, name in enumerate(weights):
        nodes.append(
            helper.make_node("MatMul", [before, name], [f"y{number}"], name=f"with_{name}")
        )
        before = f"y{number}"
    nodes += [
        helper.make_node(
            "Constant",
            [],
            ["c"],
            name="constant",
            value=helper.make_tensor("v", TensorProto.FLOAT, [2, 2], range(4)),
        ),
        helper.make_node("MatMul", [before, "c"], ["z"], name="with_constant"),
        helper.make_node("MatMul", [before, "z"], ["out"], name="attention"),
    ]
    value = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "out")
    ]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], list(tensors.values()))
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )


def test_weights_of_products(tmp_path):
    save_products(tmp_path / "model.onnx", wide=[2, 8], narrow=[8, 2])
    weights = {
        "with_wide": (2, 8),
        "with_narrow": (8, 2),
        "with_constant": (2, 2),
        "attention": None,
    }
    assert matmul_weights(tmp_path / "model.onnx") == weights


def test_products_of_activations_stay_in_float(tmp_path):
    save_products(tmp_path / "model.onnx", wide=[2, 8], narrow=[8, 2])
    path = quantise(tmp_path / "model.onnx", tmp_path, Int8Setting("x"))
    assert float_products(path) == {"attention"}


def float_products(path):
    return {node.name for node in onnx.load(path).graph.node if node.op_type == "MatMul"}


def test_nodes_named_by_the_setting_stay_in_float(tmp_path):
    save_products(tmp_path / "model.onnx", wide=[2, 8], narrow=[8, 2])
    setting = Int8Setting("x", fp32_nodes=frozenset(["with_wide", "with_constant"]))
    path = quantise(tmp_path / "model.onnx", tmp_path, setting)
    assert float_products(path) == {"attention", "with_wide", "with_constant"}


@needs_optimum
def test_optimum_and_onnxruntime_quantise_alike(tmp_path, monkeypatch):
    """The same tensors and nodes with Optimum and without it, and no other file."""
    save_products(tmp_path / "model.onnx", wide=[2, 8], narrow=[8, 2])
    setting = Int8Setting("x", fp32_nodes=frozenset(["with_narrow"]))
    graphs = []
    for installed in (True, False):
        monkeypatch.setattr(quantiser, "has_optimum", lambda installed=installed: installed)
        folder = tmp_path / str(installed)
        folder.mkdir()
        path = quantise(tmp_path / "model.onnx", folder, setting)
        assert [file.name for file in folder.iterdir()] == ["model_quantized.onnx"]
        graph = onnx.load(path).graph
        tensors = {item.name: numpy_helper.to_array(item).tolist() for item in graph.initializer}
        graphs.append((sorted(node.name for node in graph.node), tensors))
    assert graphs[0] == graphs[1]
    assert "wide_quantized" in graphs[0][1]


def test_latencies_take_turns_over_the_same_batches():
    class Fake:
        def __init__(self, name, calls):
            self.name, self.calls = name, calls

        def logits(self, texts):
            self.calls.append((self.name, tuple(texts)))

    calls: list = []
    batches = [[f"text {k}"] for k in range(8)]
    times = latencies_ms({name: Fake(name, calls) for name in ("a", "b")}, batches)
    assert {name: len(values) for name, values in times.items()} == {"a": 8, "b": 8}, (
        "warm-up is not counted"
    )
    assert [name for name, _ in calls[:4]] == ["a", "b", "b", "a"]
    assert all(one[1] == other[1] for one, other in zip(calls[::2], calls[1::2], strict=True))


def test_the_quantiser_leaves_the_root_logger_as_it_was():
    """`logging.info(...)` gives a root logger without handlers one, which would print our notes twice."""
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers.clear()
    try:
        with only_errors_logged():
            logging.info("onnxruntime advises")
        assert root.handlers == []
    finally:
        root.handlers[:] = before
