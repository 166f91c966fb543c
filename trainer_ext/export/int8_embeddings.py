"""Embedding tables in 8 bits, with a scale for each row.

onnxruntime's quantiser gives a table one scale. The rows of rare tokens are small beside the largest row, and lose most
of their 8 bits that way. With a scale of its own every row is exact to half a step of its own largest weight.
"""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Smaller tables (token types, buckets of distances) save nothing, and are part of every token.
MIN_ROWS = 64


def quantise_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a table row by row.

    Args:
        table: float (rows, width).

    Returns:
        int8 (rows, width) and float32 scales (rows, 1), whose product is the table to half a scale.
    """
    largest = np.abs(table).max(axis=1, keepdims=True)
    # Any scale will do for a row of zeros, which padding tokens often have.
    largest[largest == 0] = 1
    steps = largest / 127
    scales = steps.astype(np.float32)
    rounded = np.rint(table / scales)
    return rounded.astype(np.int8), scales


def quantise_embeddings(model: onnx.ModelProto, fp32_nodes: Collection[str]) -> list[str]:
    """Store the tables that Gather nodes look up as int8 rows with scales, in place.

    Args:
        model: with float tables as initializers.
        fp32_nodes: names of Gather nodes whose table stays in FP32.

    Returns:
        The names of the tables that were quantised.
    """
    graph = model.graph
    quantised = []
    for tensor in embedding_tables(graph, fp32_nodes):
        name = tensor.name
        table = numpy_helper.to_array(tensor)
        rows, scales = quantise_rows(table)
        graph.initializer.remove(tensor)
        graph.initializer.extend(
            [
                numpy_helper.from_array(rows, f"{name}_rows"),
                numpy_helper.from_array(scales, f"{name}_scales"),
            ]
        )
        quantised.append(name)
    nodes = []
    for node in graph.node:
        if node.op_type == "Gather" and node.input[0] in quantised:
            nodes += row_lookup(node)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return quantised


def embedding_tables(
    graph: onnx.GraphProto,
    fp32_nodes: Collection[str] = (),
) -> list[onnx.TensorProto]:
    """Return the float tables (rows, width) that only Gather nodes use, none of which is to stay in FP32."""
    # A table that something else uses, too (an output tied to the embeddings), has to stay as it is.
    kept = {item.name for item in (*graph.input, *graph.output)}
    for node in graph.node:
        if any(attribute.HasField("g") for attribute in node.attribute):
            # The branches of an If and the body of a Loop may use any tensor.
            return []
        if not looks_up_rows(node) or node.name in fp32_nodes:
            kept.update(node.input)
    looked_up = {node.input[0] for node in graph.node if looks_up_rows(node)}
    free = looked_up - kept
    tables = []
    for tensor in graph.initializer:
        is_table = len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
        if tensor.name not in free or not is_table:
            continue
        rows, _ = tensor.dims
        if rows >= MIN_ROWS:
            tables.append(tensor)
    return tables


def looks_up_rows(node: onnx.NodeProto) -> bool:
    """Tell whether a node is a Gather along the first axis."""
    if node.op_type != "Gather":
        return False
    for attribute in node.attribute:
        if attribute.name == "axis":
            return bool(attribute.i == 0)
    return True


def row_lookup(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes that look up int8 rows and their scales instead of the float rows of a Gather node."""
    table, indices = node.input
    (output,) = node.output
    name = node.name
    rows = f"{output}_rows"
    scales = f"{output}_scales"
    floats = f"{output}_floats"
    look_up_rows = helper.make_node("Gather", [f"{table}_rows", indices], [rows], f"{name}_rows")
    look_up_scales = helper.make_node(
        "Gather", [f"{table}_scales", indices], [scales], f"{name}_scales"
    )
    cast = helper.make_node("Cast", [rows], [floats], f"{name}_cast", to=TensorProto.FLOAT)
    multiply = helper.make_node("Mul", [floats, scales], [output], name)
    return [look_up_rows, look_up_scales, cast, multiply]
