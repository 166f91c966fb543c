"""Compute only the first token where nothing reads the others: the last layer under cls pooling."""

from collections.abc import Sequence

from onnx import NodeProto

from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.token_axis import operand_axes, selects_first


def keep_first_token(graph: Graph) -> int:
    """Compute queries, attention output and feed-forward of the last layer for the first token alone.

    Going back from where the first token is selected, each tensor of which nothing but the first token is read is
    computed for the first token only. Keys and values are read for every token, and stay as they are. Several readers
    (a token head, mean pooling, a sum over layers) end the way at once.

    Returns:
        How many products with constant weights became smaller.
    """
    narrow = narrow_tensors(graph)
    products = 0
    for node in graph.nodes:
        if node.op_type == "MatMul" and node.output[0] in narrow:
            has_weights = graph.array(node.input[1]) is not None
            products += has_weights
    if not products:
        return 0
    slices: dict[tuple[str, int], str] = {}
    for node in list(graph.nodes):
        if not narrow.keys() >= set(node.output):
            continue
        axes = operand_axes(graph, node, narrow[node.output[0]])
        assert axes is not None  # or its output would not be narrow
        for position, axis in enumerate(axes):
            name = node.input[position]
            if axis is not None and name not in narrow:
                node.input[position] = first_slice(graph, name, axis, slices)
    # Shapes that were seen before are too long now.
    for name in narrow:
        graph.observed.pop(name, None)
    graph.clean()
    return products


def narrow_tensors(graph: Graph) -> dict[str, int]:
    """Return the tensors of which only the first token is read, with the axis that counts tokens."""
    narrow: dict[str, int] = {}
    # Backwards: whether a tensor is narrow depends on its readers.
    for node in reversed(graph.nodes):
        # A node with several outputs (Split) shrinks all of them or none.
        axes = {needed_axis(graph, name, narrow) for name in node.output}
        axis = axes.pop()
        if axis is None or axes:
            continue
        if operand_axes(graph, node, axis) is not None:
            for name in node.output:
                narrow[name] = axis
    return narrow


def needed_axis(graph: Graph, name: str, narrow: dict[str, int]) -> int | None:
    """Return the axis along which all readers of a tensor want its first entry only, None if one wants more."""
    readers = graph.readers(name)
    if name in graph.outputs or not readers:
        return None
    found: set[int | None] = set()
    for reader in readers:
        found.update(axes_read(graph, reader, name, narrow))
    if len(found) == 1:
        return found.pop()
    return None


def axes_read(
    graph: Graph,
    reader: NodeProto,
    name: str,
    narrow: dict[str, int],
) -> Sequence[int | None]:
    """Return for each time that a node reads a tensor the axis along which it needs the first entry only."""
    selected = selects_first(graph, reader)
    if selected is not None and reader.input[0] == name:
        return [selected]
    if reader.output[0] not in narrow:
        return [None]
    axes = operand_axes(graph, reader, narrow[reader.output[0]]) or []
    read: list[int | None] = []
    for position, axis in enumerate(axes):
        if reader.input[position] == name:
            read.append(axis)
    return read or [None]


def first_slice(graph: Graph, name: str, axis: int, slices: dict[tuple[str, int], str]) -> str:
    """Return the first entry of a tensor along an axis, which stays as a dimension of 1."""
    key = (name, axis)
    if key not in slices:
        start = graph.add_integers([0])
        end = graph.add_integers([1])
        along = graph.add_integers([axis])
        (first,) = graph.add_node("Slice", [name, start, end, along], f"{name}_first")
        slices[key] = first
    return slices[key]
