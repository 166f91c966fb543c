"""Fold what does not depend on the inputs: constants, static dimensions, the targets of reshapes."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from trainer_ext.export.graph.onnx_graph import Graph, attribute
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
    source = graph.made_by(node.input[0], "Shape") if node.input else None
    if source is None:
        return None
    dimensions = dimensions_of(graph, source)
    if dimensions is None:
        return None
    if node.op_type == "Gather":
        index = graph.array(node.input[1])
        if index is None or index.ndim > 1:
            return None
        value = static([dimensions[place] for place in index.reshape(-1)])
        return None if value is None else value.reshape(index.shape)
    if node.op_type == "Slice" and len(node.input) < 5:
        start, end = (graph.scalar(name) for name in node.input[1:3])
        if start is None or end is None:
            return None
        return static(dimensions[int(start) : int(end)])
    return None


def dimensions_of(graph: Graph, node: NodeProto) -> Shape | None:
    """Return what a Shape node answers, as far as it is known."""
    shape = graph.shape(node.input[0])
    if shape is None:
        return None
    return shape[attribute(node, "start", 0) : attribute(node, "end", len(shape))]


def static(dimensions: Sequence[Dimension] | None) -> np.ndarray | None:
    """Return dimensions as an array if all of them are numbers."""
    if dimensions is None or not all(isinstance(each, int) for each in dimensions):
        return None
    return np.array(dimensions, np.int64)


def evaluate(graph: Graph, node: NodeProto) -> np.ndarray | None:
    """Return the result of a node whose inputs are all constant, None if it has others or would be large."""
    values = {name: graph.array(name) for name in node.input if name}
    if not values or any(value is None for value in values.values()):
        return None
    if node.op_type in NOT_FOLDED or node.domain not in ("", "ai.onnx"):
        return None
    known = {name: value for name, value in values.items() if value is not None}
    read = sum(value.nbytes for value in known.values())
    try:
        result = run_node(node, known, graph.opset)
    except Exception:  # the reference evaluator does not know every operator; the runtime does
        return None
    if not isinstance(result, np.ndarray) or result.nbytes > max(read, SMALL_BYTES):
        return None
    return result


def run_node(node: NodeProto, values: dict[str, np.ndarray], opset: int) -> object:
    """Run one node with ONNX's own evaluator."""
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in values.items()
    ]
    output = onnx.ValueInfoProto()
    output.name = node.output[0]
    graph = helper.make_graph([node], "node", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return np.asarray(list(ReferenceEvaluator(model).run(None, values))[0])


def fold_targets(graph: Graph) -> int:
    """Give reshapes a constant target: 0 keeps a dimension, -1 is what is left."""
    folded = 0
    for node in graph.nodes:
        if node.op_type != "Reshape":
            continue
        target = constant_target(graph, node)
        if target is not None and target != graph.integers(node.input[1]):
            node.input[1] = graph.add_integers(target)
            for each in [each for each in node.attribute if each.name == "allowzero"]:
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
    if target.count(-1) > 1:
        return None
    if -1 in target:
        place = target.index(-1)
        # What is left is the dimension that was there, if the sizes behind it are only divided or joined.
        divided = static_product(target[place + 1 :])
        if divided is not None and divided == static_product(before[place + 1 :]):
            target[place] = 0 if target[:place] == [0] * place else -1
    return target
