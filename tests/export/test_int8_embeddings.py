"""Embedding tables with a scale per row."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer_ext.export.int8_embeddings import MIN_ROWS, quantise_embeddings, quantise_rows

TABLE = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
TABLE[3] = 0
TABLE[7] *= 1000  # beside which, with one scale for all, no other row would keep anything
TABLE[8] *= 1e-6


def lookup_model(extra=(), outputs=("x",), axis=None, table=TABLE):
    attributes = {} if axis is None else {"axis": axis}
    nodes = [helper.make_node("Gather", ["table", "ids"], ["x"], "lookup", **attributes), *extra]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [None, None])
    shape = [None, None, None]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs]
    tensors = [numpy_helper.from_array(table, "table")]
    graph = helper.make_graph(nodes, "g", [ids], values, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model, ids):
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": ids})


def test_every_row_is_near_by_its_own_measure():
    rows, scales = quantise_rows(TABLE)
    assert rows.dtype == np.int8 and scales.shape == (100, 1) and scales.dtype == np.float32
    largest = np.abs(TABLE).max(axis=1, keepdims=True)
    # Half a step, and what float32 rounds.
    assert (np.abs(rows * scales - TABLE) <= largest * (0.5 / 127 + 1e-6)).all()
    assert np.abs(rows[0]).max() == np.abs(rows[8]).max() == 127
    assert not rows[3].any()


@pytest.mark.parametrize("axis", [None, 0])
def test_a_lookup_answers_with_the_rows(axis):
    model = lookup_model(axis=axis)
    assert quantise_embeddings(model, ()) == ["table"]
    ids = np.array([[0, 7, 8], [99, 3, 0]])
    rows, scales = quantise_rows(TABLE)
    (found,) = run(model, ids)
    np.testing.assert_array_equal(found, (rows * scales)[ids])
    assert [tensor.name for tensor in model.graph.initializer] == ["table_rows", "table_scales"]


def test_two_lookups_share_one_table():
    second = helper.make_node("Gather", ["table", "ids"], ["y"], "again")
    model = lookup_model([second], ("x", "y"))
    assert quantise_embeddings(model, ()) == ["table"]
    assert len(model.graph.initializer) == 2
    first, other = run(model, np.array([[1, 2]]))
    np.testing.assert_array_equal(first, other)


def tied_output():
    """The table again, transposed, as the weights of the output."""
    transposed = helper.make_node("Transpose", ["table"], ["t"], perm=[1, 0])
    return [transposed, helper.make_node("MatMul", ["x", "t"], ["y"])]


@pytest.mark.parametrize(
    ("model", "fp32_nodes"),
    [
        (lookup_model(), ["lookup"]),
        (lookup_model(tied_output(), ("y",)), []),
        (lookup_model(axis=1), []),
        (lookup_model(table=TABLE[: MIN_ROWS - 1]), []),
        (lookup_model(table=TABLE.astype(np.float16)), []),
        (lookup_model([helper.make_node("Identity", ["table"], ["y"])], ("x", "y")), []),
    ],
)
def test_what_stays_in_float(model, fp32_nodes):
    before = model.SerializeToString()
    assert quantise_embeddings(model, fp32_nodes) == []
    assert model.SerializeToString() == before
