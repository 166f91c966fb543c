"""Parts of a graph that are recognised by what they compute, not by how an exporter wrote them."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from scipy.special import erf

from trainer_ext.export.graph.nodes import names_read
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.inference.onnx_session import session_options

# Of what floats in 32 bits leave of a GELU between -10 and 10.
GELU_ERROR = 1e-5


class NotRecognised(Exception):
    """The graph is not of the form that the native runtime computes."""


def is_gelu(graph: Graph, name: str, result: str) -> bool:
    """Tell whether one tensor is the GELU of another, in its exact form: x / 2 (1 + erf(x / sqrt(2)))."""
    values = np.linspace(-10, 10, 2001, dtype=np.float32).reshape(1, 1, -1)
    part = part_of(graph, {name: TensorProto.FLOAT}, [result])
    if part is None:
        return False
    (computed,) = run(part, {name: values})
    expected = values / 2 * (1 + erf(values / np.sqrt(2)))
    return bool(np.abs(computed - expected).max() < GELU_ERROR)


def part_of(
    graph: Graph, inputs: Mapping[str, int], outputs: Sequence[str]
) -> onnx.ModelProto | None:
    """Return the part of a graph between tensors as a model.

    Args:
        graph: is left as it is.
        inputs: ONNX element types by name; those that nothing needs are left out.
        outputs: names.

    Returns:
        The model; None if the outputs depend on other inputs as well.
    """
    needed: set[str] = set()
    nodes: set[int] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in inputs or name in graph.initializers:
            continue
        node = graph.maker(name)
        if node is None:
            return None
        nodes.add(id(node))
        waiting.extend(names_read(node))
    described = []
    for name, element in inputs.items():
        if name in needed:
            described.append(helper.make_tensor_value_info(name, element, None))
    model = helper.make_model(
        helper.make_graph(
            # In the order of the graph, each once.
            [node for node in graph.nodes if id(node) in nodes],
            "part",
            described,
            [onnx.ValueInfoProto(name=name) for name in outputs],
        ),
        opset_imports=[helper.make_opsetid("", graph.opset)],
        ir_version=graph.to_model(weights=False).ir_version,
    )
    for name in sorted(needed):
        tensor = graph.initializers.get(name)
        if tensor is not None:
            added = model.graph.initializer.add()
            added.CopyFrom(tensor)
            added.name = name
    return model


def run(model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Run a small model once; what it does not read is left out of `feed`."""
    session = ort.InferenceSession(
        model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    names = {item.name for item in session.get_inputs()}
    arrays: list[np.ndarray] = session.run(
        None, {name: array for name, array in feed.items() if name in names}
    )
    return arrays
