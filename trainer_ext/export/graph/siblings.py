"""One product for linear layers that read the same tensor: queries, keys and values."""

import numpy as np

from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.projection import Projection, layer_of_product


def join_siblings(graph: Graph) -> int:
    """Join linear layers of the same input into one, and split its result.

    In INT8 the input is then quantised once, and one wide product keeps the cores busier than three narrow ones.

    Returns:
        How many groups were joined.
    """
    groups: dict[str, list[Projection]] = {}
    for node in graph.nodes:
        if node.op_type != "MatMul":
            continue
        layer = layer_of_product(graph, node)
        if layer is not None:
            group = groups.setdefault(layer.source, [])
            group.append(layer)
    # Layers that share their weights (ALBERT) share the joined weights, too.
    joined: dict[tuple[str, ...], tuple[str, str]] = {}
    count = 0
    for group in groups.values():
        if len(group) > 1:
            join(graph, group, joined)
            count += 1
    graph.clean()
    return count


def join(
    graph: Graph,
    group: list[Projection],
    joined: dict[tuple[str, ...], tuple[str, str]],
) -> None:
    """Replace a group of layers by one product, one bias and a split."""
    first = group[0].product.name
    names: list[str] = []
    for layer in group:
        names += [layer.weight_name, layer.bias_name]
    key = tuple(names)
    if key not in joined:
        weight = np.concatenate([layer.weight for layer in group], axis=1)
        bias = np.concatenate([layer.bias for layer in group])
        joined[key] = (
            graph.add_constant(weight, f"{group[0].weight_name}_joined"),
            graph.add_constant(bias, f"{first}_bias_joined"),
        )
    weight_name, bias_name = joined[key]
    (result,) = graph.add_node("MatMul", [group[0].source, weight_name], f"{first}_joined")
    # A layer without a bias has zeros.
    if any(layer.add is not None for layer in group):
        (result,) = graph.add_node("Add", [result, bias_name], f"{first}_joined_bias")
    widths = [layer.weight.shape[1] for layer in group]
    parts = graph.add_node(
        "Split",
        [result, graph.add_integers(widths)],
        f"{first}_split",
        outputs=len(group),
        axis=-1,
    )
    for layer, part in zip(group, parts, strict=True):
        graph.redirect(layer.output, part)
