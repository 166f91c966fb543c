"""Attention as one operator, which ONNX has since opset 23: no transposes, no pass over the scores for the mask."""

from dataclasses import dataclass

from onnx import NodeProto

from trainer_ext.export.graph.nodes import attribute
from trainer_ext.export.graph.onnx_graph import Graph

OPSET = 23
# Operators mean the same from here to 23; before, reductions took their axes otherwise.
OLDEST_OPSET = 18
TO_HEADS = [0, 2, 1, 3]  # (B, L, h, d) to (B, h, L, d) and back
TO_KEYS = [0, 2, 3, 1]  # (B, L, h, d) to (B, h, d, L)


@dataclass(frozen=True)
class Attention:
    """softmax(q k^T + mask) v over heads.

    Attributes:
        queries, keys, values: (B, L, h d), names of tensors.
        mask: what is added to the scores (B or 1, h or 1, L, L); empty without one.
        heads: h.
        output: (B, L, h d), name of the result.
    """

    queries: str
    keys: str
    values: str
    mask: str
    heads: int
    output: str


def fuse_attention(graph: Graph) -> int:
    """Replace products, mask and softmax by the operator Attention.

    Returns:
        How many attentions were replaced.
    """
    if graph.opset < OLDEST_OPSET:
        return 0
    found = []
    for node in graph.nodes:
        if node.op_type != "Softmax":
            continue
        attention = attention_of(graph, node)
        if attention is not None:
            found.append(attention)
    # Not while they are looked for: what was replaced would be missing from the index.
    for attention in found:
        replace_attention(graph, attention)
    if found:
        newest = max(graph.opset, OPSET)
        graph.set_opset(newest)
    graph.clean()
    return len(found)


def replace_attention(graph: Graph, attention: Attention) -> None:
    """Put the operator in the place of the nodes that make an attention."""
    inputs = [attention.queries, attention.keys, attention.values]
    if attention.mask:
        inputs.append(attention.mask)
    (result,) = graph.add_node(
        "Attention",
        inputs,
        f"{attention.output}_attention",
        q_num_heads=attention.heads,
        kv_num_heads=attention.heads,
        # The pass `scale` has put it into the weights; the operator's own default would divide once more.
        scale=1.0,
    )
    graph.redirect(attention.output, result)


def attention_of(graph: Graph, softmax: NodeProto) -> Attention | None:
    """Return the attention whose probabilities a Softmax node makes, None if it is not one of the known form."""
    before = softmax.input[0]
    probabilities = softmax.output[0]
    if graph.rank(before) != 4 or attribute(softmax, "axis", -1) not in (-1, 3):
        return None
    reader = graph.only_reader(probabilities)
    if reader is None or reader.op_type != "MatMul" or reader.input[0] != probabilities:
        return None
    scores, mask = split_mask(graph, before)
    if scores is None:
        return None
    queries = source_of_heads(graph, scores.input[0], TO_HEADS)
    keys = source_of_heads(graph, scores.input[1], TO_KEYS)
    values = source_of_heads(graph, reader.input[1], TO_HEADS)
    output = joined_heads(graph, reader.output[0])
    if queries is None or keys is None or values is None or output is None:
        return None
    query_source, heads = queries
    key_source, key_heads = keys
    value_source, value_heads = values
    if key_heads != heads or value_heads != heads:
        return None
    if not mask_fits(graph, mask, scores.output[0]):
        return None
    return Attention(query_source, key_source, value_source, mask, heads, output)


def split_mask(graph: Graph, name: str) -> tuple[NodeProto | None, str]:
    """Return the product that makes the scores, and what is added to them."""
    product = graph.made_by(name, "MatMul")
    if product is not None:
        return product, ""
    add = graph.made_by(name, "Add")
    if add is not None:
        for position in (0, 1):
            product = graph.made_by(add.input[position], "MatMul")
            # Scores that something else reads, too, must stay.
            if product is not None and graph.only_reader(product.output[0]) is not None:
                return product, str(add.input[1 - position])
    return None, ""


def mask_fits(graph: Graph, mask: str, scores: str) -> bool:
    """Tell whether a mask has the last two dimensions of the scores: the operator does not broadcast those."""
    if not mask:
        return True
    shape = graph.shape(mask)
    wanted = graph.shape(scores)
    if shape is None or wanted is None or len(shape) != 4:
        return False
    last = shape[2:]
    return None not in last and last == wanted[2:]


def source_of_heads(graph: Graph, name: str, order: list[int]) -> tuple[str, int] | None:
    """Return the (B, L, h d) tensor that is divided into heads to make this one, and their number."""
    transpose = graph.made_by(name, "Transpose")
    if transpose is None or attribute(transpose, "perm") != order:
        return None
    reshape = graph.made_by(transpose.input[0], "Reshape")
    if reshape is None:
        return None
    source = str(reshape.input[0])
    target = graph.shape(reshape.output[0])
    if graph.rank(source) != 3 or target is None or len(target) != 4:
        return None
    heads, width = target[2:]
    if not isinstance(heads, int) or not isinstance(width, int):
        return None
    return source, heads


def joined_heads(graph: Graph, name: str) -> str | None:
    """Return the (B, L, h d) tensor into which the heads of this one are joined."""
    transpose = graph.only_reader(name)
    if transpose is None or transpose.op_type != "Transpose":
        return None
    if attribute(transpose, "perm") != TO_HEADS:
        return None
    reshape = graph.only_reader(transpose.output[0])
    if reshape is None or reshape.op_type != "Reshape":
        return None
    joined = str(reshape.output[0])
    if graph.rank(joined) != 3:
        return None
    return joined
