"""Heads for one text without padding: the same bits in fewer steps, and no other head is touched."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer_ext.export.native.functions import run
from trainer_ext.export.native.head import pool_one_text

HIDDEN = 24
CLASSES = 3
INPUTS = {"states": TensorProto.FLOAT, "attention_mask": TensorProto.INT64}
LOWEST = float(np.finfo(np.float32).min)
Steps = list[tuple[str, list[str], str]]

# Operator, inputs and output, as exporters write the poolings of modeling/pooling.py.
MEAN: Steps = [
    ("Mul", ["states", "weights"], "kept"),
    ("ReduceSum", ["kept", "tokens"], "total"),
    ("ReduceSum", ["weights", "tokens"], "count"),
    ("Clip", ["count", "one"], "at_least_one"),
    ("Div", ["total", "at_least_one"], "pooled"),
]
MAX: Steps = [
    ("Equal", ["column", "zero"], "is_padding"),
    ("Where", ["is_padding", "lowest", "states"], "kept"),
    ("ReduceMax", ["kept", "tokens"], "pooled"),
]
FIRST: Steps = [("Gather", ["states", "zero"], "pooled")]
TOTAL: Steps = [*MEAN[:2], ("Identity", ["total"], "pooled")]
SMALLEST: Steps = [*MEAN[:1], ("ReduceMin", ["kept", "tokens"], "pooled")]


def make_head(pooling: Steps) -> onnx.ModelProto:
    """A pooling and a product, which reads states and mask."""
    weight = np.random.default_rng(1).normal(size=(HIDDEN, CLASSES)).astype(np.float32)
    constants = {
        "tokens": np.array([1]),
        "last": np.array([-1]),
        "zero": np.array(0),
        "one": np.float32(1),
        "lowest": np.float32(LOWEST),
        "weight": weight,
    }
    steps: Steps = [
        ("Unsqueeze", ["attention_mask", "last"], "column"),
        *pooling,
        ("MatMul", ["pooled", "weight"], "logits"),
    ]
    cast = helper.make_node("Cast", ["column"], ["weights"], to=TensorProto.FLOAT)
    nodes = [helper.make_node(*step[:2], [step[2]]) for step in steps]
    nodes.insert(1, cast)
    for node in nodes:
        if node.op_type.startswith("Reduce"):
            node.attribute.append(helper.make_attribute("keepdims", 0))
        if node.op_type == "Gather":
            node.attribute.append(helper.make_attribute("axis", 1))
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in INPUTS.items()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@pytest.mark.parametrize("pooling, operator", [(MEAN, "ReduceMean"), (MAX, "ReduceMax")])
def test_the_same_bits_in_fewer_steps(pooling, operator):
    head = make_head(pooling)
    plain = pool_one_text(head, "states", HIDDEN)
    assert [node.op_type for node in plain.graph.node] == ["Squeeze", operator, "MatMul"]
    assert [value.name for value in plain.graph.input] == ["states"]
    generator = np.random.default_rng(0)
    for length in (1, 2, 3, 15, 64, 127, 128, 129, 300, 512):
        states = generator.normal(size=(1, length, HIDDEN)).astype(np.float32)
        feed = {"states": states, "attention_mask": np.ones((1, length), np.int64)}
        (expected,) = run(head, feed)
        (logits,) = run(plain, feed)
        assert logits.shape == (1, CLASSES) and np.array_equal(logits, expected)


@pytest.mark.parametrize("pooling", [FIRST, TOTAL, SMALLEST])
def test_other_poolings_stay_as_they_are(pooling):
    head = make_head(pooling)
    assert pool_one_text(head, "states", HIDDEN) is head
