"""The attention mask: computed once, in few steps, and as large as the scores that it is added to."""

import numpy as np
from onnx import NodeProto, TensorProto

from trainer_ext.export.graph.onnx_graph import Graph

MASK = "attention_mask"
# What exporters make a mask of padding with. One of windows or of causal attention takes more.
OF_PADDING = {
    "Cast", "Concat", "ConstantOfShape", "Equal", "Expand", "Gather", "Mul", "Not", "Reshape", "Shape", "Slice", "Sub",
    "Unsqueeze", "Where",
}  # fmt: skip


def simplify_masks(graph: Graph) -> int:
    """Compute what is added to the scores as 0 for tokens and the least number for padding, (B, 1, L, L).

    Exporters take some twenty nodes for it. ONNX Runtime adds (B, 1, 1, L) row by row, which on CPUs takes several
    times as long as adding (B, 1, L, L).

    Returns:
        In how many attentions the mask was replaced.
    """
    made: dict[tuple[str, float], str] = {}
    replaced = 0
    for node in list(graph.nodes):
        position = mask_position(graph, node)
        if position is None:
            continue
        lowest = padding_value(graph, node.input[position])
        if lowest is None:
            continue
        mask = padding_mask(graph, lowest, made)
        scores = graph.shape(node.input[1 - position])
        if scores is not None:
            queries = scores[2]
            # The scores of a single query are one row.
            if queries != 1:
                mask = expanded_mask(graph, mask, lowest, made)
        node.input[position] = mask
        replaced += 1
    graph.clean()
    return replaced


def mask_position(graph: Graph, node: NodeProto) -> int | None:
    """Return which input of a node is the mask, if the node adds one to scores before their softmax."""
    made = node.output[0]
    if node.op_type != "Add" or graph.rank(made) != 4:
        return None
    read_by = {reader.op_type for reader in graph.readers(made)}
    if "Softmax" not in read_by:
        return None
    for position in (0, 1):
        if graph.made_by(node.input[1 - position], "MatMul") is not None:
            return position
    return None


def padding_value(graph: Graph, name: str) -> float | None:
    """Return what a mask has for padding; None if it may be made of more than the attention mask and constants."""
    constants: list[float] = []
    reads_mask = False
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        node = graph.maker(current)
        if current == MASK:
            reads_mask = True
        elif node is not None and node.op_type == "Shape":
            continue  # sizes alone
        elif node is not None and node.op_type in OF_PADDING:
            waiting.extend(node.input)
        elif graph.array(current) is None:
            return None
        else:
            constants.append(graph.scalar(current) or 0.0)
    lowest = min(constants, default=0.0)
    if not reads_mask or lowest >= -1.0:
        return None
    return lowest


def padding_mask(graph: Graph, lowest: float, made: dict[tuple[str, float], str]) -> str:
    """Return the mask (B, 1, 1, L): 0 for tokens, `lowest` for padding."""
    key = ("row", lowest)
    if key not in made:
        axes = graph.add_integers([1, 2])
        (row,) = graph.add_node("Unsqueeze", [MASK, axes], "mask_row")
        (token,) = graph.add_node("Cast", [row], "mask_token", to=TensorProto.BOOL)
        values = []
        for value in (0.0, lowest):
            scalar = np.array(value, np.float32)
            name = graph.add_constant(scalar, "mask_value")
            values.append(name)
        (mask,) = graph.add_node("Where", [token, *values], "mask")
        made[key] = mask
    return made[key]


def expanded_mask(graph: Graph, row: str, lowest: float, made: dict[tuple[str, float], str]) -> str:
    """Return the mask (B, 1, L, L)."""
    key = ("full", lowest)
    if key not in made:
        (length,) = graph.add_node("Shape", [MASK], "mask_length", start=1, end=2)
        one = graph.add_integers([1])
        (shape,) = graph.add_node("Concat", [one, one, length, one], "mask_shape", axis=0)
        (mask,) = graph.add_node("Expand", [row, shape], "mask_full")
        made[key] = mask
    return made[key]
