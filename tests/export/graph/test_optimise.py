"""The passes together: the same answers, fewer nodes, and what cannot be rewritten stays."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import BertModel

from tests.export.graph.conftest import FAMILIES, build
from tests.versions import graph_of_4
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.export.graph import (
    PASSES,
    RUNTIME_PASSES,
    PassResult,
    fuse_for_runtime,
    optimise,
    optimise_graph,
)
from trainer_ext.export.stages import GRAPH_PASSES
from trainer_ext.export.to_onnx import export_onnx


def answers(path, lengths=((5,), (9, 4, 1), (40, 17))):
    """The outputs for random texts, padded to the longest of each batch."""
    options = ort.SessionOptions()
    # Signed 8-bit products overflow on a CPU without VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(3)
    outputs = []
    for batch in lengths:
        ids = generator.integers(2, 90, (len(batch), max(batch)))
        mask = np.int64(np.arange(max(batch)) < np.array(batch)[:, None])
        inputs = {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": ids % 2}
        names = [item.name for item in session.get_inputs()]
        outputs += session.run(None, {name: inputs[name] for name in names})
    return outputs


def assert_same(before, after):
    for expected, found in zip(answers(before), answers(after), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def count(path, operator):
    return sum(node.op_type == operator for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_as_before(family, exported, tmp_path):
    source, target = exported(family), tmp_path / "model.onnx"
    report = optimise_graph(source, target)
    assert [each.name for each in report.passes] == list(PASSES)
    assert not [each for each in report.passes if "undone" in each.reason]
    assert_same(source, target)
    before, after = onnx.load(source), onnx.load(target)
    assert after.graph.input == before.graph.input
    assert [item.name for item in after.graph.output] == [item.name for item in before.graph.output]
    assert {item.domain for item in after.opset_import} <= {"", "ai.onnx"}
    if not TRANSFORMERS_5:  # with which ModernBERT builds its masks in another way
        assert len(after.graph.node) < len(before.graph.node)


def test_flags_know_every_pass():
    assert (*PASSES, *RUNTIME_PASSES) == GRAPH_PASSES


@graph_of_4
def test_places_changed_in_bert(exported, tmp_path):
    """Two layers: q, k and v of each; of the last one query, attention output and both of the feed-forward."""
    target = tmp_path / "model.onnx"
    report = optimise_graph(exported("bert"), target)
    places = {each.name: each.changed for each in report.passes}
    assert places["scale"] == 4  # queries and keys
    assert places["qkv"] == 2
    assert places["first_token"] == 4
    assert places["mask"] == 2
    # Joined: qkv and kv; alone: the last query, and in each layer the output, and the feed-forward's two; q k and p v.
    assert count(target, "MatMul") == 2 + 1 + 2 * 3 + 2 * 2
    assert count(target, "Sqrt") == 0


@graph_of_4
def test_a_pass_that_changes_answers_is_undone(exported, tmp_path, monkeypatch):
    def halve(graph):
        for name in graph.initializers:
            if name == "head.bias":
                graph.initializers[name] = onnx.numpy_helper.from_array(
                    np.zeros(3, np.float32), name
                )
        return 1

    def fail(graph):
        graph.nodes.clear()
        raise KeyError("no such tensor")

    monkeypatch.setattr(optimise, "PASSES", {"halve": halve, "fail": fail})
    source, target = exported("bert"), tmp_path / "model.onnx"
    halved, failed = optimise.apply_passes(optimise.PASSES, source, target, ()).passes
    assert halved.changed == 0
    assert halved.reason.startswith("undone: logits differs by ")
    assert failed.reason.startswith("undone: ")
    assert_same(source, target)


def test_passes_are_left_out_by_name(exported, tmp_path):
    source, target = exported("bert"), tmp_path / "model.onnx"
    report = optimise_graph(source, target, skip=list(PASSES))
    assert report.passes == [PassResult(name, 0, "skipped") for name in PASSES]
    assert len(onnx.load(target).graph.node) <= len(onnx.load(source).graph.node)


def test_a_graph_with_other_inputs_is_left_as_it_is(tmp_path):
    value = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    node = helper.make_node("Relu", ["pixels"], ["y"], name="relu")
    graph = helper.make_graph([node], "g", [value], [result])
    onnx.save(helper.make_model(graph, ir_version=10), tmp_path / "a.onnx")
    report = optimise_graph(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert {each.changed for each in report.passes} == {0}
    assert "pixels is not (batch, length) whole numbers" in report.passes[0].reason
    assert onnx.load(tmp_path / "b.onnx").graph.node == onnx.load(tmp_path / "a.onnx").graph.node


@pytest.mark.parametrize(
    "pooling, token_classes", [("mean", 0), ("cls", 5), ("weighted_layers", 0)]
)
def test_all_tokens_are_computed_where_something_reads_them(
    pooling, token_classes, exported, tmp_path
):
    source, target = exported("bert", pooling, token_classes), tmp_path / "model.onnx"
    report = optimise_graph(source, target)
    assert {each.name: each.changed for each in report.passes}["first_token"] == 0
    assert_same(source, target)


@pytest.mark.parametrize("family", ["bert", "albert", "distilbert"])
def test_attention_becomes_one_operator_for_the_runtime(family, exported, tmp_path):
    plain, fused = tmp_path / "model.onnx", tmp_path / "fused.onnx"
    optimise_graph(exported(family), plain)
    report = fuse_for_runtime(plain, fused)
    assert report.passes == [PassResult("attention", 2)]
    assert count(fused, "Attention") == 2
    assert count(fused, "Softmax") == count(fused, "Transpose") == 0
    assert [(each.domain, each.version) for each in onnx.load(fused).opset_import] == [("", 23)]
    assert_same(exported(family), fused)


def test_int8_of_the_rewritten_graph_answers_alike(exported, tmp_path):
    """The quantiser takes every product with constant weights of it, and nothing else."""
    source, fused, int8 = exported("bert"), tmp_path / "fused.onnx", tmp_path / "int8.onnx"
    optimise_graph(source, fused)
    fuse_for_runtime(fused, fused)
    quantize_dynamic(
        fused, int8, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8
    )
    assert count(int8, "MatMulInteger") == 2 + 1 + 2 * 3 + 1  # the head, a Gemm before
    assert count(int8, "MatMul") == 0
    for expected, found in zip(answers(source), answers(int8), strict=True):
        assert np.abs(found - expected).max() < 0.2 * expected.std()


NOTHING = "nothing to change"
# Two layers of each; 0 where a pass finds no place. ModernBERT turns queries and keys between product and scores, and
# its windows are no mask of padding; DeBERTa adds the scores of relative positions.
PLACES_OF_TORCH = {
    "bert": {"scale": 2, "first_token": 4, "qkv": 2, "mask": 2, "attention": 2},
    "roberta": {"scale": 2, "first_token": 4, "qkv": 2, "mask": 2, "attention": 2},
    "distilbert": {"scale": 2, "first_token": 4, "qkv": 2, "mask": 2, "attention": 2},
    "modernbert": {"scale": 0, "first_token": 3, "qkv": 0, "mask": 0, "attention": 0},
    "deberta-v2": {"scale": 0, "first_token": 3, "qkv": 2, "mask": 0, "attention": 0},
}


def places_after(source, target) -> dict[str, int]:
    """Run all passes, those for the runtime too, and return how many places each changed."""
    passes = optimise_graph(source, target).passes + fuse_for_runtime(target, target).passes
    assert {each.reason for each in passes} <= {"", NOTHING}
    return {each.name: each.changed for each in passes}


@graph_of_4
@pytest.mark.slow
@pytest.mark.parametrize("family", PLACES_OF_TORCH)
def test_places_in_files_of_torchs_exporter(family, exported, tmp_path):
    source, target = exported(family, exporter="torch"), tmp_path / "model.onnx"
    places = places_after(source, target)
    # Its attention is written out, so that no transposes are left to be joined.
    assert places["transposes"] == 0
    for name, expected in PLACES_OF_TORCH[family].items():
        assert places[name] == expected, name
    assert count(target, "Attention") == places["attention"]
    assert_same(source, target)


class FusedOnly(BertModel):
    """An encoder that cannot write its attention out, as code of its own may be."""

    def __init__(self, config, add_pooling_layer=True):
        if config._attn_implementation == "eager":
            raise NotImplementedError("fused attention only")
        super().__init__(config, add_pooling_layer)


@graph_of_4
@pytest.mark.slow
def test_fused_attention_in_files_of_torchs_exporter(tmp_path):
    """The keys' transpose is a chain there, and queries and keys are scaled apart."""
    model = build("bert")
    fused = FusedOnly(model.encoder.config, add_pooling_layer=False)
    fused.load_state_dict(model.encoder.state_dict())
    model.encoder = fused.eval()
    source, target = export_onnx(model, tmp_path, exporter="torch").path, tmp_path / "after.onnx"
    places = places_after(source, target)
    assert places["transposes"] == 4 and places["scale"] == 4
    assert places["mask"] == places["attention"] == 2
    assert_same(source, target)
