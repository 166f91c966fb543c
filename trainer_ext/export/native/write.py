"""Write what the native runtime needs beside an INT8 file: the places of the encoder's weights, and the head."""

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from trainer_ext.export.graph.onnx_graph import Graph, load_graph
from trainer_ext.export.int8_weights import is_pair_safe
from trainer_ext.export.native.embeddings import Table
from trainer_ext.export.native.functions import NotRecognised, part_of
from trainer_ext.export.native.head import pool_one_text
from trainer_ext.export.native.pattern import Encoder, Layer, Linear, Norm, find_encoder
from trainer_ext.files import write_json
from trainer_ext.inference.layout import NATIVE_FOLDER
from trainer_ext.inference.native.plan import FORMAT, HEAD, LINEARS, NORMS, PLAN, TYPES

Place = dict[str, Any]


class Places:
    """Where the constants of a graph are in its file.

    Args:
        graph: as read from the file.
        content: of the file.
    """

    def __init__(self, graph: Graph, content: mmap.mmap):
        self._graph = graph
        self._content = content

    def of(self, name: str) -> Place:
        """Return the place of a constant, or raise `NotRecognised` if it is not there as plain bytes."""
        array = self._graph.array(name)
        if array is None or str(array.dtype) not in TYPES or not array.size:
            raise NotRecognised(f"{name} is not a constant of 8-bit integers or floats")
        # Equal bytes elsewhere are as good.
        offset = self._content.find(array.tobytes())
        if offset < 0:
            raise NotRecognised(f"{name} is not in the file as plain bytes")
        return {"offset": offset, "type": str(array.dtype), "shape": list(array.shape)}

    def of_linear(self, linear: Linear | None) -> dict[str, Place | None] | None:
        """Return the places of a product's constants."""
        if linear is None:
            return None
        return {
            "weights": self.of(linear.weights),
            "scales": self.of(linear.scales),
            "bias": self.of(linear.bias) if linear.bias else None,
            "smoothing": self.of(linear.smoothing) if linear.smoothing else None,
        }

    def of_norm(self, norm: Norm) -> dict[str, Place]:
        """Return the places of a normalisation's constants."""
        return {"weight": self.of(norm.weight), "bias": self.of(norm.bias)}

    def of_table(self, table: Table) -> dict[str, Any]:
        """Return the places of a table's rows, and what picks them."""
        rows = self.of(table.rows)
        # A vector is a table of one row.
        rows["shape"] = [int(np.prod(rows["shape"][:-1])), rows["shape"][-1]]
        return {
            "rows": rows,
            "scales": self.of(table.scales) if table.scales else None,
            "row_of": table.row_of,
            "offset": table.offset,
            "skipped": table.skipped,
        }


def write_native(file: Path) -> int:
    """Write `native/` beside an INT8 file whose encoder is recognised.

    Args:
        file: the ONNX file.

    Returns:
        How many layers the encoder has.

    Raises:
        NotRecognised: if the graph is not of the known form; nothing is written then.
    """
    if file.with_name(f"{file.name}_data").exists():
        raise NotRecognised("the weights are in a file of their own")
    graph = load_graph(file)
    encoder = find_encoder(graph)
    head = head_of(graph, encoder)
    with open(file, "rb") as opened:
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        with content:
            plan = plan_of(graph, encoder, Places(graph, content))
    head = pool_one_text(head, encoder.output, plan["hidden"])
    folder = file.parent / NATIVE_FOLDER
    folder.mkdir()
    onnx.save(head, folder / HEAD)
    write_json(
        folder / PLAN, {"format": FORMAT, "file": file.name, "bytes": file.stat().st_size, **plan}
    )
    return len(encoder.layers)


def plan_of(graph: Graph, encoder: Encoder, places: Places) -> dict[str, Any]:
    """Return the content of encoder.json but for what names the file."""
    first = encoder.layers[0]
    hidden = graph.initializers[first.output.weights].dims[1]
    head_size = head_size_of(graph, first)
    layers = []
    for layer in encoder.layers:
        check_sizes(graph, layer, hidden)
        if head_size_of(graph, layer) != head_size:
            raise NotRecognised("layers have heads of different widths")
        described: dict[str, Any] = {}
        for name in LINEARS:
            described[name] = places.of_linear(getattr(layer, name))
        for name in NORMS:
            described[name] = places.of_norm(getattr(layer, name))
        layers.append(described)
    return {
        "hidden": hidden,
        "head_size": head_size,
        "epsilon": encoder.embedding_norm.epsilon,
        "attention_scale": first.scale or head_size**-0.5,
        "is_pair_safe": all(map(is_pair_safe, weights_of(graph, encoder))),
        "output": encoder.output,
        "tables": [places.of_table(table) for table in encoder.tables],
        "embedding_norm": places.of_norm(encoder.embedding_norm),
        "layers": layers,
    }


def head_size_of(graph: Graph, layer: Layer) -> int:
    """Return the width of a layer's heads, or raise `NotRecognised` if they do not divide what is read from them."""
    width = graph.initializers[layer.output.weights].dims[0]
    if width % layer.heads:
        raise NotRecognised(f"{layer.heads} heads do not divide {width}")
    return int(width // layer.heads)


def check_sizes(graph: Graph, layer: Layer, hidden: int) -> None:
    """Raise `NotRecognised` unless a layer's weights fit each other and the hidden size.

    How wide its heads are together, and how many feed-forward neurons it has, is its own (`--compression width`).
    """
    heads = graph.initializers[layer.output.weights].dims[0]
    inner = graph.initializers[layer.inner.weights].dims[1]
    parts = 3 if layer.query is None else 2
    expected = {
        layer.joined: [hidden, parts * heads],
        layer.query: [hidden, heads],
        layer.output: [heads, hidden],
        layer.inner: [hidden, inner],
        layer.outer: [inner, hidden],
    }
    for linear, shape in expected.items():
        if linear is not None and list(graph.initializers[linear.weights].dims) != shape:
            raise NotRecognised(f"{linear.weights} is not {shape[0]} x {shape[1]}")


def linears_of(encoder: Encoder) -> Iterable[Linear]:
    """Yield all products of an encoder."""
    for layer in encoder.layers:
        for name in LINEARS:
            linear = getattr(layer, name)
            if linear is not None:
                yield linear


def weights_of(graph: Graph, encoder: Encoder) -> Iterable[np.ndarray]:
    """Yield the 8-bit weights of an encoder."""
    for linear in linears_of(encoder):
        array = graph.array(linear.weights)
        assert array is not None  # or it would not be a Linear
        yield array


def head_of(graph: Graph, encoder: Encoder) -> onnx.ModelProto:
    """Return what comes after the encoder as a model that reads the last hidden state.

    Raises:
        NotRecognised: if it reads more of the encoder than that, or has layers itself.
    """
    inputs: dict[str, int] = {encoder.output: TensorProto.FLOAT}
    inputs.update(dict.fromkeys(graph.inputs, TensorProto.INT64))
    head = part_of(graph, inputs, graph.outputs)
    if head is None:
        raise NotRecognised("an output does not depend on the model's inputs alone")
    if any(node.op_type == "Attention" for node in head.graph.node):
        number = len(encoder.layers)
        raise NotRecognised(f"what comes after layer {number - 1} is a layer of another form")
    constants = {tensor.name for tensor in head.graph.initializer}
    for linear in linears_of(encoder):
        if linear.weights in constants:
            raise NotRecognised("the head reads more than the last hidden state")
    return head
