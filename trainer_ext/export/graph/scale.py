"""Fold scalar factors of the attention into the weights of the product that they scale."""

import numpy as np

from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.projection import Projection, projection_of

# What lies between a product and its factor. A product of two activations is linear in its first operand, too.
PASSED = ("Transpose", "Reshape", "Unsqueeze", "Squeeze", "Identity", "MatMul")


def fold_scales(graph: Graph) -> int:
    """Multiply weights and biases by the scalar that follows, and remove the multiplication.

    Attention divides its scores by sqrt(d); exporters write that as a factor of the scores, of the queries, or as
    sqrt(sqrt(d)) of queries and keys. Each costs a pass over the whole tensor.

    Returns:
        How many factors were folded.
    """
    folded = 0
    for node in list(graph.nodes):
        if node.op_type not in ("Mul", "Div"):
            continue
        for position in (0, 1):
            factor = graph.scalar(node.input[1 - position])
            is_divisor = node.op_type == "Div" and position == 1
            if factor is None or is_divisor or factor == 0:
                continue
            scaled = node.input[position]
            # The factor must reach constant weights, and nothing else on its way there.
            source = scaled_projection(graph, scaled)
            if source is None or not keeps_rank(graph, scaled, node.output[0]):
                continue
            if node.op_type == "Div":
                factor = 1 / factor
            scale_projection(graph, source, factor)
            graph.redirect(node.output[0], scaled)
            graph.index()
            folded += 1
            break
    graph.clean()
    return folded


def keeps_rank(graph: Graph, before: str, after: str) -> bool:
    """Tell whether a multiplication leaves the rank as it is: a constant of more dimensions would add some."""
    return graph.rank(before) is not None and graph.rank(before) == graph.rank(after)


def scaled_projection(graph: Graph, name: str) -> Projection | None:
    """Return the product with constant weights whose result, and nothing else, becomes this tensor."""
    while graph.only_reader(name) is not None:
        found = projection_of(graph, name)
        if found is not None:
            alone = graph.only_reader(found.product.output[0]) is not None
            return found if alone else None
        node = graph.made_by(name, *PASSED)
        if node is None:
            return None
        name = node.input[0]
    return None


def scale_projection(graph: Graph, projection: Projection, factor: float) -> None:
    """Give a product weights and bias that are multiplied by `factor`."""
    weight = projection.weight * np.float32(factor)
    weight_name = f"{projection.weight_name}_scaled"
    projection.product.input[1] = graph.add_constant(weight, weight_name)
    if projection.add is not None:
        bias = projection.bias * np.float32(factor)
        bias_name = f"{projection.bias_name}_scaled"
        position = projection.bias_position
        projection.add.input[position] = graph.add_constant(bias, bias_name)
