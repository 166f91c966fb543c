"""Single passes on graphs of a few nodes, whose results are known."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer_ext.export.graph.first_token import keep_first_token
from trainer_ext.export.graph.fold import fold_constants
from trainer_ext.export.graph.nodes import attribute
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.scale import fold_scales
from trainer_ext.export.graph.siblings import join_siblings
from trainer_ext.export.graph.token_axis import operand_axes
from trainer_ext.export.graph.transposes import join_transposes

WEIGHT = np.float32([[1, 2], [3, 4]])
BIAS = np.float32([10, 20])


def graph_of(nodes, outputs, constants, shape=("b", "s", 2)) -> Graph:
    """A graph with the float input x."""
    made = helper.make_graph(
        [helper.make_node(*node[:3], name=node[2][0], **node[3]) for node in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return Graph(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)]))


def operators(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]


LINEAR = [("MatMul", ["x", "w"], ["p"], {}), ("Add", ["p", "b"], ["q"], {})]


@pytest.mark.parametrize("operator, factor", [("Mul", 4.0), ("Div", 0.25)])
def test_a_factor_goes_into_weights_and_bias(operator, factor):
    nodes = [
        *LINEAR,
        ("Transpose", ["q"], ["t"], {"perm": [0, 2, 1]}),
        (operator, ["t", "c"], ["y"], {}),
    ]
    graph = graph_of(nodes, ["y"], {"w": WEIGHT, "b": BIAS, "c": np.float32(factor)})
    assert fold_scales(graph) == 1
    assert "Mul" not in operators(graph) and "Div" not in operators(graph)
    weights, bias = (graph.array(graph.nodes[place].input[1]) for place in (0, 1))
    assert weights.tolist() == [[4, 8], [12, 16]]
    assert bias.tolist() == [40, 80]


def test_a_factor_stays_where_its_product_is_read_elsewhere():
    nodes = [*LINEAR, ("Mul", ["q", "c"], ["y"], {})]
    graph = graph_of(nodes, ["y", "q"], {"w": WEIGHT, "b": BIAS, "c": np.float32(4)})
    assert fold_scales(graph) == 0
    # 1 / x is not linear in x.
    nodes = [*LINEAR, ("Div", ["c", "q"], ["y"], {})]
    graph = graph_of(nodes, ["y"], {"w": WEIGHT, "b": BIAS, "c": np.float32(4)})
    assert fold_scales(graph) == 0


def test_layers_of_one_input_are_joined_and_split():
    other = np.float32([[5], [6]])
    nodes = [
        *LINEAR,
        ("MatMul", ["x", "v"], ["r"], {}),
        ("Tanh", ["q"], ["y"], {}),
        ("Tanh", ["r"], ["z"], {}),
    ]
    graph = graph_of(nodes, ["y", "z"], {"w": WEIGHT, "b": BIAS, "v": other})
    assert join_siblings(graph) == 1
    product, add, split = graph.nodes[:3]
    assert graph.array(product.input[1]).tolist() == [[1, 2, 5], [3, 4, 6]]
    assert graph.array(add.input[1]).tolist() == [10, 20, 0]
    assert graph.integers(split.input[1]) == [2, 1]
    assert operators(graph) == ["MatMul", "Add", "Split", "Tanh", "Tanh"]


def test_only_the_first_token_goes_through_a_layer():
    nodes = [*LINEAR, ("Tanh", ["q"], ["t"], {}), ("Gather", ["t", "zero"], ["y"], {"axis": 1})]
    graph = graph_of(nodes, ["y"], {"w": WEIGHT, "b": BIAS, "zero": np.int64(0)})
    assert keep_first_token(graph) == 1
    assert operators(graph) == ["Slice", "MatMul", "Add", "Tanh", "Gather"]
    # Starts, ends and axes.
    assert [graph.integers(name) for name in graph.nodes[0].input[1:]] == [[0], [1], [1]]


def test_all_tokens_go_through_a_layer_that_something_else_reads():
    nodes = [*LINEAR, ("Gather", ["q", "zero"], ["y"], {"axis": 1})]
    graph = graph_of(nodes, ["y", "q"], {"w": WEIGHT, "b": BIAS, "zero": np.int64(0)})
    assert keep_first_token(graph) == 0
    # The second token is not the first.
    nodes = [*LINEAR, ("Gather", ["q", "one"], ["y"], {"axis": 1})]
    graph = graph_of(nodes, ["y"], {"w": WEIGHT, "b": BIAS, "one": np.int64(1)})
    assert keep_first_token(graph) == 0


def test_softmax_over_tokens_needs_them_all():
    graph = graph_of([("Softmax", ["x"], ["y"], {"axis": 1})], ["y"], {})
    assert operand_axes(graph, graph.nodes[0], 1) is None
    graph = graph_of([("Softmax", ["x"], ["y"], {"axis": 2})], ["y"], {})
    assert operand_axes(graph, graph.nodes[0], 1) == [1]


def test_static_dimensions_are_folded_and_dynamic_ones_kept():
    nodes = [
        ("Shape", ["x"], ["sizes"], {}),
        ("Gather", ["sizes", "last"], ["width"], {"axis": 0}),
        ("Cast", ["width"], ["number"], {"to": TensorProto.FLOAT}),
        ("Sqrt", ["number"], ["root"], {}),
        ("Div", ["x", "root"], ["y"], {}),
        ("Gather", ["sizes", "first"], ["length"], {"axis": 0}),
        ("Cast", ["length"], ["z"], {"to": TensorProto.FLOAT}),
    ]
    constants = {"last": np.int64(2), "first": np.int64(1)}
    graph = graph_of(nodes, ["y", "z"], constants, shape=("b", "s", 16))
    assert fold_constants(graph) == 3
    assert sorted(operators(graph)) == ["Cast", "Div", "Gather", "Shape"]
    (divide,) = [node for node in graph.nodes if node.op_type == "Div"]
    assert graph.scalar(divide.input[1]) == 4


def test_two_transposes_are_one():
    nodes = [
        ("Transpose", ["x"], ["t"], {"perm": [1, 2, 0]}),
        ("Transpose", ["t"], ["y"], {"perm": [2, 0, 1]}),
        ("Tanh", ["y"], ["z"], {}),
    ]
    graph = graph_of(nodes, ["z"], {})
    assert join_transposes(graph) == 1
    assert operators(graph) == ["Transpose", "Tanh"]
    assert attribute(graph.nodes[0], "perm") == [0, 1, 2]
