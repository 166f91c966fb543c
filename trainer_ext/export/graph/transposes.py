"""Transposes written as they are meant: one node instead of a chain."""

from onnx import NodeProto

from trainer_ext.export.graph.nodes import attribute
from trainer_ext.export.graph.onnx_graph import Graph

SWAP_LAST = [0, 1, 3, 2]


def join_transposes(graph: Graph) -> int:
    """Replace chains that only reorder axes by a single transpose.

    torch's newer exporter writes the keys' transpose as reshape to (B h, L, d), transpose, reshape to (B, h, d, L).

    Returns:
        How many chains were replaced.
    """
    joined = join_reshaped(graph)
    # A transpose that was just written may itself be one of a pair.
    graph.clean()
    joined += join_pairs(graph)
    graph.clean()
    return joined


def join_reshaped(graph: Graph) -> int:
    """Replace reshape, transpose and reshape, and return how many of these there were."""
    joined = 0
    for node in list(graph.nodes):
        if node.op_type != "Reshape":
            continue
        source = swapped_source(graph, node)
        if source is None:
            continue
        name = f"{node.name}_transpose"
        (result,) = graph.add_node("Transpose", [source], name, perm=SWAP_LAST)
        graph.redirect(node.output[0], result)
        joined += 1
    return joined


def join_pairs(graph: Graph) -> int:
    """Replace a transpose of a transpose that nothing else reads, and return how many of these there were."""
    joined = 0
    for node in list(graph.nodes):
        if node.op_type != "Transpose":
            continue
        before = graph.made_by(node.input[0], "Transpose")
        # With another reader the first transpose has to be computed all the same.
        if before is None or graph.only_reader(before.output[0]) is None:
            continue
        first = attribute(before, "perm")
        second = attribute(node, "perm")
        if first is None or second is None:
            continue
        order = [first[axis] for axis in second]
        (result,) = graph.add_node("Transpose", [before.input[0]], node.name, perm=order)
        graph.redirect(node.output[0], result)
        # The next pair of a longer chain begins with the node that was added.
        graph.index()
        joined += 1
    return joined


def swapped_source(graph: Graph, node: NodeProto) -> str | None:
    """Return the (B, h, L, d) tensor whose last two axes a reshape of a transpose of a reshape exchanges."""
    transpose = graph.made_by(node.input[0], "Transpose")
    if transpose is None or attribute(transpose, "perm") != [0, 2, 1]:
        return None
    flat = graph.made_by(transpose.input[0], "Reshape")
    if flat is None:
        return None
    source = str(flat.input[0])
    before = graph.shape(source)
    middle = graph.shape(flat.output[0])
    after = graph.shape(node.output[0])
    if before is None or middle is None or after is None:
        return None
    # Two unknown dimensions would count as equal.
    if len(before) != 4 or None in before:
        return None
    swapped = tuple(before[axis] for axis in SWAP_LAST)
    if middle[1:] != before[2:] or after != swapped:
        return None
    return source
