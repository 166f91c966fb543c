"""What the gate lets through, and what quantisation touches."""

import onnx
import pytest
from onnx import TensorProto, helper

from trainer_ext.export.gate import Variant, choose, judge_int8, judge_onnx
from trainer_ext.export.latency import latencies_ms
from trainer_ext.export.quantise import products_of_activations
from trainer_ext.export.report import build_report, instruction_set, report_table


def variants(onnx_diff: float = 1e-5, int8_metric: float = 0.898) -> list[Variant]:
    pytorch = Variant("pytorch", "model.safetensors", 400, 0.9)
    exported = Variant("onnx", "model.onnx", 400, 0.9, max_logit_diff=onnx_diff)
    int8 = Variant("int8", "model_quantized.onnx", 100, int8_metric, max_logit_diff=0.2)
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
        ({"onnx_diff": float("nan"), "int8_metric": 0.5}, "pytorch", False),
    ],
)
def test_verdicts(changes, chosen, passed):
    found = variants(**changes)
    report = build_report(found, "f1_macro", 100, 0.5, 1)
    assert choose(found) == report["chosen"] == chosen
    assert report["passed"] is passed
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


def test_only_products_with_a_constant_are_quantised(tmp_path):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0] * 4)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="with_weight"),
        helper.make_node("Constant", [], ["c"], name="constant", value=weight),
        helper.make_node("MatMul", ["y", "c"], ["z"], name="with_constant"),
        helper.make_node("MatMul", ["y", "z"], ["out"], name="attention"),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "out")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:], [weight])), tmp_path / "m.onnx")
    assert products_of_activations(tmp_path / "m.onnx") == ["attention"]


def test_latencies_take_turns_over_the_same_batches():
    class Fake:
        def __init__(self, name, calls):
            self.name, self.calls = name, calls

        def logits(self, texts):
            self.calls.append((self.name, tuple(texts)))

    calls: list = []
    batches = [[f"text {k}"] for k in range(8)]
    times = latencies_ms({name: Fake(name, calls) for name in ("a", "b")}, batches)
    assert {name: len(values) for name, values in times.items()} == {"a": 8, "b": 8}, "warm-up is not counted"
    assert [name for name, _ in calls[:4]] == ["a", "b", "b", "a"]
    assert all(one[1] == other[1] for one, other in zip(calls[::2], calls[1::2], strict=True))


def test_instruction_set_names_the_machine():
    assert instruction_set().split()[0] in ("x86_64", "aarch64", "arm64", "AMD64")
