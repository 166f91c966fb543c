"""The encoder of a BERT-like model, found in the graph of its INT8 file: what the native runtime computes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from trainer_ext.export.graph.nodes import attribute
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.native.embeddings import Table, tables_of
from trainer_ext.export.native.functions import NotRecognised, is_gelu


@dataclass(frozen=True)
class Linear:
    """A product with 8-bit weights.

    Attributes:
        weights: int8 (depth, columns), name of the constant.
        scales: float (columns) or one, name of the constant.
        bias: float (columns), name of the constant; empty without one.
        output: name of the result.
        smoothing: float (depth), what the input is multiplied by first; empty: nothing.
    """

    weights: str
    scales: str
    bias: str
    output: str
    smoothing: str = ""


@dataclass(frozen=True)
class Norm:
    """A LayerNormalization; the names of its weight and bias, and of its result."""

    weight: str
    bias: str
    epsilon: float
    output: str


@dataclass(frozen=True)
class Layer:
    """A layer: attention, a normalised sum, two products around a GELU, a normalised sum.

    Attributes:
        joined: query, key and value side by side; key and value if `query` is there.
        query: of the first token, in a last layer that computes only that; else None.
        output: after the attention.
        attention_norm: of its sum with the layer's input.
        inner, outer: before and after the GELU.
        output_norm: of the last sum; its result is the layer's.
        heads: of the attention.
        scale: of the attention's scores.
    """

    joined: Linear
    query: Linear | None
    output: Linear
    attention_norm: Norm
    inner: Linear
    outer: Linear
    output_norm: Norm
    heads: int
    scale: float


@dataclass(frozen=True)
class Encoder:
    """Embeddings and layers; `output` is the last hidden state (B, L or 1, hidden)."""

    tables: Sequence[Table]
    embedding_norm: Norm
    layers: Sequence[Layer]
    output: str


def find_encoder(graph: Graph) -> Encoder:
    """Find the encoder of a graph.

    Raises:
        NotRecognised: if it is not one of the known form, saying where it differs.
    """
    reasons = []
    for node in graph.nodes:
        if node.op_type != "LayerNormalization":
            continue
        try:
            return encoder_after(graph, node)
        except NotRecognised as error:
            reasons.append(error)
    if not reasons:
        raise NotRecognised("there is no LayerNormalization")
    # That of the first one, which is the embeddings' in the known form.
    raise reasons[0]


def encoder_after(graph: Graph, node: NodeProto) -> Encoder:
    """Return the encoder whose embeddings a node normalises, or raise `NotRecognised`."""
    norm = norm_at(graph, node.output[0])
    layers = [layer_after(graph, norm.output)]
    while layers[-1].query is None and has_layer_after(graph, layers[-1].output_norm.output):
        layers.append(layer_after(graph, layers[-1].output_norm.output))
    tables = tables_of(graph, str(node.input[0]))
    check_alike(norm, layers)
    return Encoder(tables, norm, layers, layers[-1].output_norm.output)


def check_alike(norm: Norm, layers: Sequence[Layer]) -> None:
    """Raise `NotRecognised` unless all layers have the same numbers."""
    for layer in layers:
        if (
            layer.attention_norm.epsilon != norm.epsilon
            or layer.output_norm.epsilon != norm.epsilon
        ):
            raise NotRecognised("layers add different numbers to their variances")
        if layer.scale != layers[0].scale:
            raise NotRecognised("layers scale their scores differently")


def has_layer_after(graph: Graph, name: str) -> bool:
    """Tell whether a tensor is the input of an attention, as far as its next nodes say."""
    try:
        return attention_after(graph, name) is not None
    except NotRecognised:
        return False


def layer_after(graph: Graph, name: str) -> Layer:
    """Return the layer that reads a tensor (B, L, hidden), or raise `NotRecognised`."""
    joined, query, attention, residual = attention_after(graph, name)
    output = only(linears_of(graph, attention.output[0]), "after an attention")
    attention_norm = norm_of_sum(graph, output.output, residual)
    inner = only(linears_of(graph, attention_norm.output), "after an attention's normalisation")
    activated = activation_after(graph, inner.output)
    outer = only(linears_of(graph, activated), "after an activation")
    output_norm = norm_of_sum(graph, outer.output, attention_norm.output)
    return Layer(
        joined,
        query,
        output,
        attention_norm,
        inner,
        outer,
        output_norm,
        heads=attribute(attention, "q_num_heads", 0),
        scale=attribute(attention, "scale", 0.0),
    )


def attention_after(graph: Graph, name: str) -> tuple[Linear, Linear | None, NodeProto, str]:
    """Return the products, the attention and the tensor that is added to its result.

    Args:
        graph: of the model.
        name: of the layer's input.

    Raises:
        NotRecognised: if they are not there.
    """
    joined = only(linears_of(graph, name), "at the start of a layer")
    split = graph.only_reader(joined.output)
    if split is None or split.op_type != "Split":
        raise NotRecognised(f"{joined.output} is not split into query, key and value")
    attention = graph.only_reader(split.output[-1])
    if attention is None or attention.op_type != "Attention":
        raise NotRecognised(f"{split.output[-1]} is not read by an Attention")
    read = list(attention.input[:3])
    if read == list(split.output):
        return joined, None, attention, name
    if read[1:] != list(split.output):
        raise NotRecognised(f"{attention.name} reads its parts in another order")
    first = first_token_of(graph, name)
    query = only(linears_of(graph, first), "of the first token's query")
    if query.output != read[0]:
        raise NotRecognised(f"{attention.name} has a query of another form")
    return joined, query, attention, first


def first_token_of(graph: Graph, name: str) -> str:
    """Return the slice of a tensor (B, L, hidden) that holds the first token, or raise `NotRecognised`."""
    for node in graph.readers(name):
        if node.op_type == "Slice":
            bounds = [graph.integers(bound) for bound in node.input[1:4]]
            if bounds == [[0], [1], [1]]:
                return str(node.output[0])
    raise NotRecognised(f"the first token of {name} is not cut out")


def linears_of(graph: Graph, name: str) -> list[Linear]:
    """Return the products that read a tensor in 8 bits."""
    found: list[Linear] = []
    for quantised, smoothing in quantised_from(graph, name):
        for product in graph.readers(quantised.output[0]):
            linear = linear_of(graph, quantised, product)
            found.append(replace(linear, smoothing=smoothing))
    return found


def quantised_from(graph: Graph, name: str) -> list[tuple[NodeProto, str]]:
    """Return the nodes that turn a tensor into 8 bits, each with the vector by which it is multiplied first, or ''."""
    found = []
    for reader in graph.readers(name):
        if reader.op_type == "DynamicQuantizeLinear":
            found.append((reader, ""))
        elif reader.op_type == "Mul":
            vector = other_input(reader, name)
            array = graph.array(vector)
            if array is None or array.size == 1 or array.size != array.shape[-1]:
                continue
            for quantised in graph.readers(reader.output[0]):
                if quantised.op_type == "DynamicQuantizeLinear":
                    found.append((quantised, vector))
    return found


def linear_of(graph: Graph, quantised: NodeProto, product: NodeProto) -> Linear:
    """Return a product with its scales and bias, or raise `NotRecognised`."""
    where = product.name
    if product.op_type != "MatMulInteger" or product.input[2] != quantised.output[2]:
        raise NotRecognised(f"{where} is not a product with the zero point of its input")
    weights = graph.array(product.input[1])
    if weights is None or weights.dtype != np.int8 or weights.ndim != 2:
        raise NotRecognised(f"{where} has no constant 8-bit weights")
    if len(product.input) > 3 and not is_zero(graph, product.input[3]):
        raise NotRecognised(f"{where} has weights with a zero point")
    cast = reader_of(graph, product.output[0], "Cast")
    scaled = reader_of(graph, cast.output[0], "Mul")
    scales = scales_of(graph, other_input(scaled, cast.output[0]), str(quantised.output[1]))
    add = graph.only_reader(scaled.output[0])
    if add is not None and add.op_type == "Add":
        bias = other_input(add, scaled.output[0])
        array = graph.array(bias)
        if array is not None and array.shape == weights.shape[1:]:
            return Linear(str(product.input[1]), scales, bias, str(add.output[0]))
    return Linear(str(product.input[1]), scales, "", str(scaled.output[0]))


def scales_of(graph: Graph, name: str, input_scale: str) -> str:
    """Return the weights' scales, which are multiplied by that of the input."""
    product = graph.made_by(name, "Mul")
    if product is None or input_scale not in product.input:
        raise NotRecognised(f"{name} is not the input's scale times those of the weights")
    scales = other_input(product, input_scale)
    if graph.array(scales) is None:
        raise NotRecognised(f"{scales} is not constant")
    return scales


def is_zero(graph: Graph, name: str) -> bool:
    """Tell whether a tensor is a constant of zeros."""
    array = graph.array(name)
    return array is not None and not array.any()


def activation_after(graph: Graph, name: str) -> str:
    """Return the GELU of a tensor, or raise `NotRecognised`."""
    current = name
    # Two readers (x and erf(x)) meet again; what is wanted is where the next product begins.
    for _ in range(8):
        readers = graph.readers(current)
        if quantised_from(graph, current):
            break
        if not readers:
            raise NotRecognised(f"nothing reads {current}")
        current = str(readers[-1].output[0])
    if current == name or not is_gelu(graph, name, current):
        raise NotRecognised(f"{name} is not followed by a GELU")
    return current


def norm_of_sum(graph: Graph, name: str, residual: str) -> Norm:
    """Return the normalisation of a tensor's sum with another one, or raise `NotRecognised`."""
    add = reader_of(graph, name, "Add")
    if other_input(add, name) != residual:
        raise NotRecognised(f"{residual} is not added to {name}")
    normalised = reader_of(graph, add.output[0], "LayerNormalization")
    return norm_at(graph, normalised.output[0])


def norm_at(graph: Graph, name: str) -> Norm:
    """Return the normalisation over the last axis that makes a tensor, or raise `NotRecognised`."""
    node = graph.made_by(name, "LayerNormalization")
    if node is None or attribute(node, "axis", -1) not in (-1, 2):
        raise NotRecognised(f"{name} is not normalised over its last axis")
    if len(node.input) < 3 or graph.array(node.input[1]) is None:
        raise NotRecognised(f"{name} is normalised without a bias")
    epsilon = attribute(node, "epsilon", 1e-5)
    return Norm(str(node.input[1]), str(node.input[2]), epsilon, name)


def reader_of(graph: Graph, name: str, operator: str) -> NodeProto:
    """Return the only node that reads a tensor if it is that operator, or raise `NotRecognised`."""
    node = graph.only_reader(name)
    if node is None or node.op_type != operator:
        raise NotRecognised(f"{name} is not read by {operator} alone")
    return node


def other_input(node: NodeProto, name: str) -> str:
    """Return what a node of two inputs reads beside a tensor."""
    return str(node.input[1] if node.input[0] == name else node.input[0])


def only(linears: Sequence[Linear], where: str) -> Linear:
    """Return the one product there is, or raise `NotRecognised`."""
    if len(linears) != 1:
        raise NotRecognised(f"{len(linears)} products in 8 bits {where}")
    return linears[0]
