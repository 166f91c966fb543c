"""Transposes written as they are meant: one node instead of a chain."""

from onnx import NodeProto

from trainer_ext.export.graph.onnx_graph import Graph, attribute

SWAP_LAST = [0, 1, 3, 2]


def join_transposes(graph: Graph) -> int:
    """Replace chains that only reorder axes by a single transpose.

    torch's newer exporter writes the keys' transpose as reshape to (B h, L, d), transpose, reshape to (B, h, d, L).

    Returns:
        How many chains were replaced.
    """
    joined = 0
    for node in list(graph.nodes):
        if node.op_type == "Reshape":
            source = swapped_source(graph, node)
            if source is not None:
                (result,) = graph.add_node(
                    "Transpose", [source], f"{node.name}_transpose", perm=SWAP_LAST
                )
                graph.redirect(node.output[0], result)
                joined += 1
    graph.clean()
    for node in list(graph.nodes):
        before = graph.made_by(node.input[0], "Transpose") if node.input else None
        if node.op_type != "Transpose" or before is None:
            continue
        first, second = attribute(before, "perm"), attribute(node, "perm")
        if graph.only_reader(before.output[0]) is None or first is None or second is None:
            continue
        order = [first[axis] for axis in second]
        (result,) = graph.add_node("Transpose", [before.input[0]], node.name, perm=order)
        graph.redirect(node.output[0], result)
        graph.index()
        joined += 1
    graph.clean()
    return joined


def swapped_source(graph: Graph, node: NodeProto) -> str | None:
    """Return the (B, h, L, d) tensor whose last two axes a reshape of a transpose of a reshape exchanges."""
    transpose = graph.made_by(node.input[0], "Transpose")
    if transpose is None or attribute(transpose, "perm") != [0, 2, 1]:
        return None
    flat = graph.made_by(transpose.input[0], "Reshape")
    if flat is None:
        return None
    before, after = graph.shape(flat.input[0]), graph.shape(node.output[0])
    middle = graph.shape(flat.output[0])
    if before is None or after is None or middle is None or len(before) != 4 or len(after) != 4:
        return None
    if None in before or middle[1:] != before[2:]:
        return None
    if after != tuple(before[axis] for axis in SWAP_LAST):
        return None
    return str(flat.input[0])
