"""The head as the native runtime calls it: for one text at a time, all of whose tokens count."""

import numpy as np
import onnx
from onnx import TensorProto

from trainer_ext.export.graph.mask import MASK
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.native.functions import part_of, run

# Of what floats in 32 bits leave of a pooling of normal numbers.
POOLING_ERROR = 1e-6
TOKENS = 7  # of the text that a pooling is tried on


def pool_one_text(head: onnx.ModelProto, states: str, hidden: int) -> onnx.ModelProto:
    """Return a head that pools in one step, to the same bits, if it averages tokens or takes the largest values.

    What leaves padding out takes most of the head's time.

    Args:
        head: is left as it is.
        states: the input with the last hidden states (1, L, hidden).
        hidden: the size of a state.

    Returns:
        The new head; the same one if it pools otherwise.
    """
    graph = Graph(head)
    for node in graph.nodes:
        result = node.output[0]
        operator = pooling_of(graph, result, states, hidden)
        if operator is None:
            continue
        # ONNX Runtime adds up the first axis row by row; for a later one it multiplies matrices, four times as long.
        first_axis = graph.add_integers([0])
        (tokens,) = graph.add_node("Squeeze", [states, first_axis], "tokens")
        (pooled,) = graph.add_node(operator, [tokens, first_axis], "pooled", keepdims=1)
        graph.redirect(result, pooled)
        graph.clean()
        inputs = {value.name: value.type.tensor_type.elem_type for value in graph.input_values}
        pooling = part_of(graph, inputs, graph.outputs)
        assert pooling is not None  # all that it reads was an input before
        return pooling
    return head


def pooling_of(graph: Graph, result: str, states: str, hidden: int) -> str | None:
    """Return the operator that makes one tensor of the states of a text; None if it is not a pooling of that kind."""
    part = part_of(graph, {states: TensorProto.FLOAT, MASK: TensorProto.INT64}, [result])
    if part is None:
        return None
    generator = np.random.default_rng(0)
    values = generator.normal(size=(1, TOKENS, hidden)).astype(np.float32)
    (computed,) = run(part, {states: values, MASK: np.ones((1, TOKENS), dtype=np.int64)})
    for operator, expected in (
        ("ReduceMean", values.mean(axis=1)),
        ("ReduceMax", values.max(axis=1)),
    ):
        is_like_it = computed.shape == expected.shape and computed.dtype == expected.dtype
        if is_like_it and np.abs(computed - expected).max() < POOLING_ERROR:
            return operator
    return None
