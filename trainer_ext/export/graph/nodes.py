"""Nodes of an ONNX graph, one by one: what a node reads, its attributes, and an order in which nodes can run."""

from collections.abc import Iterable, Sequence
from typing import Any

from onnx import NodeProto, TensorProto, helper

# Names of the domain of the standard operators.
STANDARD_DOMAINS = ("", "ai.onnx")


def is_standard(node: NodeProto) -> bool:
    """Tell whether a node is one of the standard operators."""
    return node.domain in STANDARD_DOMAINS


def copy_node(node: NodeProto) -> NodeProto:
    """Return a copy of a node."""
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def constant_of(node: NodeProto) -> TensorProto | None:
    """Return the tensor of a `Constant` node, None for other nodes and for constants written otherwise."""
    if node.op_type != "Constant" or node.attribute[0].name != "value":
        return None
    value: TensorProto = node.attribute[0].t
    return value


def names_read(node: NodeProto) -> Iterable[str]:
    """Return the tensors that a node reads, those that its subgraphs take from outside included."""
    yield from filter(None, node.input)
    for value in node.attribute:
        for graph in (value.g, *value.graphs):
            for inner in graph.node:
                yield from names_read(inner)
            for output in graph.output:
                yield output.name


def in_order(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """Sort nodes so that each comes after those that it reads."""
    makers: dict[str, NodeProto] = {}
    for node in nodes:
        for name in node.output:
            makers[name] = node
    done: set[int] = set()
    ordered: list[NodeProto] = []
    for first in nodes:
        # Depth first without recursion: a graph may be deeper than Python's stack.
        waiting = [first]
        while waiting:
            node = waiting[-1]
            if id(node) in done:
                waiting.pop()
                continue
            missing = []
            for name in names_read(node):
                before = makers.get(name)
                if before is not None and id(before) not in done:
                    missing.append(before)
            if missing:
                waiting.extend(missing)
            else:
                done.add(id(node))
                ordered.append(node)
                waiting.pop()
    return ordered


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of a node's attribute, or the default."""
    for each in node.attribute:
        if each.name == name:
            return helper.get_attribute_value(each)
    return default
