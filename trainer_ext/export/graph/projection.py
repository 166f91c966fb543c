"""A linear layer in the graph: a product with constant weights and the bias that is added to it."""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from trainer_ext.export.graph.onnx_graph import Graph


@dataclass(frozen=True)
class Projection:
    """x W + b.

    Attributes:
        product: the MatMul node.
        weight: (inputs, outputs).
        add: the node that adds the bias, None without one.
        bias: (outputs,), zeros without one.
        bias_position: which input of `add` the bias is.
    """

    product: NodeProto
    weight: np.ndarray
    add: NodeProto | None
    bias: np.ndarray
    bias_position: int = 1

    @property
    def source(self) -> str:
        """The tensor that is multiplied."""
        return str(self.product.input[0])

    @property
    def output(self) -> str:
        """The tensor that the layer makes."""
        if self.add is not None:
            return str(self.add.output[0])
        return str(self.product.output[0])

    @property
    def weight_name(self) -> str:
        """Name of the constant weights."""
        return str(self.product.input[1])

    @property
    def bias_name(self) -> str:
        """Name of the constant bias; empty without one."""
        return "" if self.add is None else self.add.input[self.bias_position]


def projection_of(graph: Graph, name: str) -> Projection | None:
    """Return the linear layer that makes a tensor, with its bias if it has one."""
    add = graph.made_by(name, "Add")
    if add is None:
        return bare_projection(graph, graph.made_by(name, "MatMul"))
    for position in (0, 1):
        # Exporters write x W + b and b + x W.
        bias = graph.array(add.input[position])
        product = graph.made_by(add.input[1 - position], "MatMul")
        found = bare_projection(graph, product)
        if bias is None or found is None or bias.shape != found.bias.shape:
            continue
        return Projection(found.product, found.weight, add, bias, position)
    return None


def bare_projection(graph: Graph, product: NodeProto | None) -> Projection | None:
    """Return a MatMul node as a linear layer without bias if its second input is a constant matrix."""
    if product is None:
        return None
    weight = graph.array(product.input[1])
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
        return None
    # Zeros, so that layers with and without a bias can be joined.
    no_bias = np.zeros(weight.shape[1], weight.dtype)
    return Projection(product, weight, None, no_bias)


def layer_of_product(graph: Graph, product: NodeProto) -> Projection | None:
    """Return the linear layer of a MatMul node, with the bias that its only reader adds."""
    found = bare_projection(graph, product)
    if found is None:
        return None
    reader = graph.only_reader(product.output[0])
    if reader is not None and reader.op_type == "Add":
        with_bias = projection_of(graph, reader.output[0])
        # The sum may be of two products, and take the other one for its layer.
        if with_bias is not None and with_bias.product is product:
            return with_bias
    return found
