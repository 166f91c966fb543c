"""Fold what does not depend on the inputs: constants, static dimensions, the targets of reshapes."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from trainer_ext.export.graph.nodes import attribute, is_standard
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.shapes import Dimension, Shape, static_product

# A folded tensor may be this large even if what it is made of is smaller (position ids of 512 tokens: 4 KiB).
SMALL_BYTES = 64 * 1024
NOT_FOLDED = (
    "If",
    "Loop",
    "Scan",
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
)
# Folding a reshape tells shapes that later ones need.
MOST_ROUNDS = 8


def fold_constants(graph: Graph) -> int:
    """Replace nodes whose result is known by constants, and remove what no result depends on.

    Returns:
        How many nodes fewer there are.
    """
    before = len(graph.nodes)
    for _ in range(MOST_ROUNDS):
        changed = [drop_identities(graph), fold_known(graph), fold_targets(graph)]
        graph.clean()
        if not any(changed):
            break
    return before - len(graph.nodes)


def drop_identities(graph: Graph) -> int:
    """Let readers of a copy read the original."""
    dropped = 0
    for node in list(graph.nodes):
        if node.op_type == "Identity" and node.output[0] not in graph.outputs:
            graph.redirect(node.output[0], node.input[0])
            dropped += 1
    return dropped


def fold_known(graph: Graph) -> int:
    """Evaluate nodes of constants, and what reads static dimensions."""
    folded = 0
    for node in list(graph.nodes):
        # An output of the model has to be made by a node.
        if len(node.output) != 1 or node.output[0] in graph.outputs:
            continue
        value = known_dimensions(graph, node)
        if value is None:
            value = evaluate(graph, node)
        if value is not None:
            name = graph.add_constant(value, node.output[0])
            graph.redirect(node.output[0], name)
            folded += 1
    return folded


def known_dimensions(graph: Graph, node: NodeProto) -> np.ndarray | None:
    """Return the value of a Shape node, or of a Gather or Slice of one, if the dimensions it asks for are static."""
    if node.op_type == "Shape":
        dimensions = dimensions_of(graph, node)
        return static(dimensions)
    if not node.input:
        return None
    source = graph.made_by(node.input[0], "Shape")
    if source is None:
        return None
    dimensions = dimensions_of(graph, source)
    if dimensions is None:
        return None
    if node.op_type == "Gather":
        index = graph.array(node.input[1])
        if index is None or index.ndim > 1:
            return None
        chosen = [dimensions[place] for place in index.reshape(-1)]
        value = static(chosen)
        if value is None:
            return None
        return value.reshape(index.shape)
    if node.op_type == "Slice" and len(node.input) < 5:
        start, end = map(graph.scalar, node.input[1:3])
        if start is None or end is None:
            return None
        part = dimensions[int(start) : int(end)]
        return static(part)
    return None


def dimensions_of(graph: Graph, node: NodeProto) -> Shape | None:
    """Return what a Shape node answers, as far as it is known."""
    shape = graph.shape(node.input[0])
    if shape is None:
        return None
    start = attribute(node, "start", 0)
    end = attribute(node, "end", len(shape))
    return shape[start:end]


def static(dimensions: Sequence[Dimension] | None) -> np.ndarray | None:
    """Return dimensions as an array if all of them are numbers."""
    if dimensions is None or not all(isinstance(each, int) for each in dimensions):
        return None
    return np.array(dimensions, np.int64)


def evaluate(graph: Graph, node: NodeProto) -> np.ndarray | None:
    """Return the result of a node whose inputs are all constant, None if it has others or would be large."""
    known: dict[str, np.ndarray] = {}
    for name in filter(None, node.input):
        value = graph.array(name)
        if value is None:
            return None
        known[name] = value
    if not known or node.op_type in NOT_FOLDED or not is_standard(node):
        return None
    try:
        result = run_node(node, known, graph.opset)
    except Exception:  # the reference evaluator does not know every operator; the runtime does
        return None
    # An Expand or a Tile of a constant could make the file many times as large.
    bytes_read = sum(value.nbytes for value in known.values())
    largest = max(bytes_read, SMALL_BYTES)
    if not isinstance(result, np.ndarray) or result.nbytes > largest:
        return None
    return result


def run_node(node: NodeProto, values: dict[str, np.ndarray], opset: int) -> object:
    """Run one node with ONNX's own evaluator."""
    inputs = []
    for name, value in values.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        described = helper.make_tensor_value_info(name, kind, value.shape)
        inputs.append(described)
    output = onnx.ValueInfoProto()
    output.name = node.output[0]
    graph = helper.make_graph([node], "node", inputs, [output])
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=versions)
    evaluator = ReferenceEvaluator(model)
    (result,) = evaluator.run(None, values)
    return np.asarray(result)


def fold_targets(graph: Graph) -> int:
    """Give reshapes a constant target: 0 keeps a dimension, -1 is what is left."""
    folded = 0
    for node in graph.nodes:
        if node.op_type != "Reshape":
            continue
        target = constant_target(graph, node)
        if target is None or target == graph.integers(node.input[1]):
            continue
        node.input[1] = graph.add_integers(target)
        # With it, 0 would be an empty dimension.
        for each in list(node.attribute):
            if each.name == "allowzero":
                node.attribute.remove(each)
        folded += 1
    return folded


def constant_target(graph: Graph, node: NodeProto) -> list[int] | None:
    """Return a reshape's target in numbers, None if more than one dimension of it is neither static nor kept."""
    before = graph.shape(node.input[0])
    after = graph.shape(node.output[0])
    if before is None or after is None:
        return None
    target = []
    for place, dimension in enumerate(after):
        if isinstance(dimension, int):
            target.append(dimension)
        elif place < len(before) and dimension is not None and dimension == before[place]:
            target.append(0)
        else:
            target.append(-1)
    # A reshape can work out one dimension only.
    if target.count(-1) > 1:
        return None
    if -1 in target:
        place = target.index(-1)
        behind = place + 1
        # What is left is the dimension that was there, if the sizes behind it are only divided or joined.
        size = static_product(target[behind:])
        is_same_size = size is not None and size == static_product(before[behind:])
        is_kept_before = target[:place] == [0] * place
        if is_same_size and is_kept_before:
            target[place] = 0
    return target
