"""How operators carry the token axis: where it lies in what they read, given where it lies in what they make."""

from collections.abc import Callable, Sequence

from onnx import NodeProto

from trainer_ext.export.graph.nodes import attribute, is_standard
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.shapes import static_product

# For each operand the axis that counts tokens, None if the operand is needed as a whole.
Axes = Sequence[int | None]

ELEMENTWISE = {
    "Abs", "Add", "And", "Cast", "Clip", "Cos", "Div", "Equal", "Erf", "Exp", "Gelu", "Greater", "Identity",
    "LeakyRelu", "Less", "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Sigmoid", "Sin",
    "Softplus", "Sqrt", "Sub", "Tanh", "Where",
}  # fmt: skip


def operand_axes(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Return where the token axis lies in each operand.

    Args:
        graph: of the node.
        node: makes a tensor whose entry i along `axis` depends on token i only.
        axis: from the front.

    Returns:
        The axis of each operand, None for operands that are needed as a whole; None if the operator is not known to
        keep tokens apart.
    """
    if not is_standard(node):
        return None
    if node.op_type in ELEMENTWISE:
        return elementwise(graph, node, axis)
    rule = RULES.get(node.op_type)
    if rule is None:
        return None
    return rule(graph, node, axis)


def selects_first(graph: Graph, node: NodeProto) -> int | None:
    """Return the axis along which a node takes the first entry and nothing else, None for other nodes."""
    if not node.input:
        return None
    rank = graph.rank(node.input[0])
    if rank is None:
        return None
    if node.op_type == "Gather":
        indices = graph.integers(node.input[1])
        return worked_axis(node, rank, 0) if indices == [0] else None
    if node.op_type == "Slice" and len(node.input) >= 4:
        starts, ends, axes = map(graph.integers, node.input[1:4])
        if starts == [0] and ends == [1] and axes is not None:
            return axes[0] % rank
    return None


def worked_axis(node: NodeProto, rank: int, default: int) -> int:
    """Return the axis along which a node works, from the front."""
    axis: int = attribute(node, "axis", default)
    return axis % rank


def of_first_operand(node: NodeProto, axis: int) -> Axes:
    """Say that the tokens lie in the first operand, and that all others are needed as a whole."""
    others = len(node.input) - 1
    return [axis, *[None] * others]


def elementwise(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Align operands at their last axis, as broadcasting does: one that has 1 there serves all tokens."""
    made = graph.shape(node.output[0])
    # Without its shape nobody knows which operand is broadcast.
    if made is None:
        return None
    axes: list[int | None] = []
    for name in node.input:
        shape = graph.shape(name)
        if shape is None:
            return None
        # Broadcasting adds dimensions in front.
        added = len(made) - len(shape)
        own = axis - added
        if own < 0 or shape[own] == 1:
            axes.append(None)
            continue
        length = shape[own]
        is_same_length = length is not None and length == made[axis]
        if is_same_length or all_others_are_one(graph, node, name, axis, len(made)):
            axes.append(own)
        else:
            return None
    return axes


def all_others_are_one(graph: Graph, node: NodeProto, name: str, axis: int, rank: int) -> bool:
    """Tell whether the result's length along an axis can only come from this operand."""
    for other in node.input:
        if other == name:
            continue
        shape = graph.shape(other)
        if shape is None:
            return False
        added = rank - len(shape)
        own = axis - added
        if own >= 0 and shape[own] != 1:
            return False
    return True


def along_last_axis(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Softmax and LayerNormalization mix the entries of one axis, which must not be the tokens'."""
    rank = graph.rank(node.output[0])
    if rank is None:
        return None
    if worked_axis(node, rank, -1) <= axis:
        return None
    return of_first_operand(node, axis)


def matrix_product(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Take the rows of the first operand, which are those of the product."""
    rank = graph.rank(node.output[0])
    first = graph.rank(node.input[0])
    # Along any other axis both operands take part: texts, heads, or the columns of the second.
    if rank is None or first is None or axis != rank - 2:
        return None
    return [first - 2, None]


def transposed(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Follow the permutation."""
    order = attribute(node, "perm")
    if order is None:
        return None
    return [order[axis]]


def reshaped(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Only what comes after the tokens may be divided or joined: heads and their width."""
    target = graph.integers(node.input[1])
    before = graph.shape(node.input[0])
    if target is None or before is None or attribute(node, "allowzero", 0):
        return None
    is_kept_before = target[:axis] == [0] * axis
    if not is_kept_before or len(before) <= axis:
        return None
    tokens = target[axis]
    if tokens == 0:
        return [axis, None]
    # -1 is the tokens' if the sizes behind it stay the same.
    behind = axis + 1
    size = static_product(target[behind:])
    is_same_size = size is not None and size == static_product(before[behind:])
    if tokens == -1 and is_same_size:
        return [axis, None]
    return None


def unsqueezed(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Skip the dimensions of 1 that were added."""
    rank = graph.rank(node.output[0])
    added = graph.integers(node.input[1])
    if rank is None or added is None:
        return None
    places = {place % rank for place in added}
    # The token axis itself was added: it has one entry, and no tokens.
    if axis in places:
        return None
    in_front = sum(place < axis for place in places)
    return [axis - in_front, None]


def squeezed(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Count the dimensions of 1 that were removed."""
    rank = graph.rank(node.input[0])
    if rank is None or len(node.input) < 2:
        return None
    removed = graph.integers(node.input[1])
    if removed is None:
        return None
    places = {place % rank for place in removed}
    kept = [place for place in range(rank) if place not in places]
    return [kept[axis], None]


def reduced(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Allow a mean over features that stays as a dimension of 1."""
    rank = graph.rank(node.output[0])
    # An attribute before opset 18, an input since.
    over: list[int] | None = attribute(node, "axes")
    if over is None and len(node.input) > 1:
        over = graph.integers(node.input[1])
    keeps_dimensions = attribute(node, "keepdims", 1)
    if rank is None or over is None or not keeps_dimensions:
        return None
    places = {place % rank for place in over}
    if axis in places:
        return None
    return of_first_operand(node, axis)


def parted(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Split along another axis."""
    rank = graph.rank(node.input[0])
    if rank is None:
        return None
    if worked_axis(node, rank, 0) == axis:
        return None
    return of_first_operand(node, axis)


def sliced(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Slice along other axes."""
    rank = graph.rank(node.input[0])
    if rank is None or len(node.input) < 4:
        return None
    over = graph.integers(node.input[3])
    if over is None:
        return None
    places = {place % rank for place in over}
    if axis in places:
        return None
    return of_first_operand(node, axis)


def joined(graph: Graph, node: NodeProto, axis: int) -> Axes | None:
    """Concatenate along another axis."""
    rank = graph.rank(node.output[0])
    if rank is None:
        return None
    # A Concat always has an axis, so that the default is never taken.
    if worked_axis(node, rank, 0) == axis:
        return None
    return [axis] * len(node.input)


RULES: dict[str, Callable[[Graph, NodeProto, int], Axes | None]] = {
    "Concat": joined,
    "LayerNormalization": along_last_axis,
    "MatMul": matrix_product,
    "ReduceMean": reduced,
    "ReduceSum": reduced,
    "Reshape": reshaped,
    "Slice": sliced,
    "Softmax": along_last_axis,
    "Split": parted,
    "Squeeze": squeezed,
    "Transpose": transposed,
    "Unsqueeze": unsqueezed,
}
