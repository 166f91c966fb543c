"""The attention mask: computed once, in few steps, and as large as the scores that it is added to."""

from typing import NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto

from trainer_ext.export.graph.onnx_graph import Graph

MASK = "attention_mask"
# At most this is filled in for padding: enough to make its probability 0 whatever the score is.
LEAST_FILL = -1e4
# What exporters make a mask of padding with. One of windows or of causal attention takes more.
OF_PADDING = {
    "Cast", "Concat", "ConstantOfShape", "Equal", "Expand", "Gather", "Mul", "Not", "Reshape", "Shape", "Slice", "Sub",
    "Unsqueeze", "Where",
}  # fmt: skip


class MaskedScores(NamedTuple):
    """Scores before they are masked, and what their mask has for padding."""

    scores: str
    lowest: float


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
        masked = masked_scores(graph, node)
        if masked is None:
            continue
        mask = padding_mask(graph, masked.lowest, made)
        shape = graph.shape(masked.scores)
        if shape is not None:
            queries = shape[2]
            # The scores of a single query are one row.
            if queries != 1:
                mask = expanded_mask(graph, mask, masked.lowest, made)
        # Where becomes Add, too.
        node.op_type = "Add"
        del node.input[:]
        node.input.extend([masked.scores, mask])
        replaced += 1
    graph.clean()
    return replaced


def masked_scores(graph: Graph, node: NodeProto) -> MaskedScores | None:
    """Return what a node masks, if that is the scores before their softmax, and padding alone is masked."""
    made = node.output[0]
    if graph.rank(made) != 4:
        return None
    read_by = {reader.op_type for reader in graph.readers(made)}
    if "Softmax" not in read_by:
        return None
    if node.op_type == "Add":
        return added_mask(graph, node)
    if node.op_type == "Where":
        return filled_mask(graph, node)
    return None


def added_mask(graph: Graph, node: NodeProto) -> MaskedScores | None:
    """Read scores + mask."""
    for position in (0, 1):
        scores = node.input[1 - position]
        if graph.made_by(scores, "MatMul") is not None:
            lowest = padding_value(graph, node.input[position])
            if lowest is not None:
                return MaskedScores(scores, lowest)
    return None


def filled_mask(graph: Graph, node: NodeProto) -> MaskedScores | None:
    """Read where(mask is 0, lowest, scores), which is how DistilBERT masks without fused attention.

    For padding the sum is another number than `lowest`, but its softmax is 0 just so.
    """
    is_padding, lowest, scores = node.input
    value = graph.scalar(lowest)
    if value is None or graph.made_by(scores, "MatMul") is None:
        return None
    if value > LEAST_FILL or sources_of(graph, is_padding) is None:
        return None
    return MaskedScores(scores, value)


def padding_value(graph: Graph, name: str) -> float | None:
    """Return what a mask has for padding; None if it may be made of more than the attention mask and constants."""
    constants = sources_of(graph, name)
    lowest = min(constants or [0.0])
    if lowest >= -1.0:
        return None
    return lowest


def sources_of(graph: Graph, name: str) -> list[float] | None:
    """Return the constants that a tensor is made of beside the attention mask; None if it is made of anything else."""
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
    return constants if reads_mask else None


def padding_mask(graph: Graph, lowest: float, made: dict[tuple[str, float], str]) -> str:
    """Return the mask (B, 1, 1, L): 0 for tokens, `lowest` for padding."""
    if ("row", lowest) not in made:
        (row,) = graph.add_node("Unsqueeze", [MASK, graph.add_integers([1, 2])], "mask_row")
        (token,) = graph.add_node("Cast", [row], "mask_token", to=TensorProto.BOOL)
        values = []
        for value in (0.0, lowest):
            scalar = np.array(value, np.float32)
            values.append(graph.add_constant(scalar, "mask_value"))
        (made["row", lowest],) = graph.add_node("Where", [token, *values], "mask")
    return made["row", lowest]


def expanded_mask(graph: Graph, row: str, lowest: float, made: dict[tuple[str, float], str]) -> str:
    """Return the mask (B, 1, L, L)."""
    if ("full", lowest) not in made:
        (length,) = graph.add_node("Shape", [MASK], "mask_length", start=1, end=2)
        one = graph.add_integers([1])
        (shape,) = graph.add_node("Concat", [one, one, length, one], "mask_shape", axis=0)
        (made["full", lowest],) = graph.add_node("Expand", [row, shape], "mask_full")
    return made["full", lowest]
