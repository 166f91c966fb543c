"""An ONNX graph that passes can read and change: who makes a tensor, who reads it, what is constant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from trainer_ext.export.graph.nodes import (
    STANDARD_DOMAINS,
    constant_of,
    copy_node,
    in_order,
    is_standard,
    names_read,
)
from trainer_ext.export.graph.shapes import (
    Shape,
    infer_shapes,
    name_dimensions,
    name_observed,
)

# A protobuf message ends at 2 GiB: larger models keep their weights in a file beside them.
LARGEST_MESSAGE = 2**31 - 2**20
# Shape inference reads the values of small tensors (shapes, axes); weights are described by their shape alone.
LARGEST_READ_BY_INFERENCE = 1024
# Constants of at most so many elements are kept once for all who read them.
LARGEST_SHARED = 8


class Graph:
    """The nodes and constants of a model.

    `copy` is cheap: nodes are copied, weights are shared between copies and never changed.

    Args:
        model: is left as it is.

    Attributes:
        nodes: in an order in which each comes after those that it reads.
        initializers: tensors by name, those of `Constant` nodes included.
        observed: shapes seen when the graph ran, which say more than inference where a shape is computed.
    """

    def __init__(self, model: onnx.ModelProto):
        self._frame = onnx.ModelProto()
        self._frame.CopyFrom(without_weights(model))
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        for tensor in model.graph.initializer:
            self.initializers[tensor.name] = tensor
        for node in model.graph.node:
            # Exporters write a constant as either; passes see one form.
            value = constant_of(node)
            if value is not None:
                self.initializers[node.output[0]] = value
            else:
                self.nodes.append(copy_node(node))
        self._used_names = self._all_names()
        self._arrays: dict[str, np.ndarray] = {}
        self._shapes: dict[str, Shape] | None = None
        self.observed: dict[str, Shape] = {}
        self.index()

    def copy(self) -> "Graph":
        """Return a graph of the same weights whose nodes can be changed independently."""
        other: Graph = object.__new__(Graph)
        other._frame = self._frame
        other.nodes = [copy_node(node) for node in self.nodes]
        other.initializers = dict(self.initializers)
        other._used_names = set(self._used_names)
        other._arrays = self._arrays
        other._shapes = self._shapes
        other.observed = dict(self.observed)
        other.index()
        return other

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return [value.name for value in self._frame.graph.input]

    @property
    def input_values(self) -> list[onnx.ValueInfoProto]:
        """The inputs with their types."""
        return list(self._frame.graph.input)

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [value.name for value in self._frame.graph.output]

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        for imported in self._frame.opset_import:
            if imported.domain in STANDARD_DOMAINS:
                return int(imported.version)
        return 0

    def observe(self, shapes: dict[str, Shape]) -> None:
        """Take note of shapes that were seen when the graph ran."""
        self.observed = shapes
        self._shapes = None

    def index(self) -> None:
        """Find anew who makes and who reads each tensor; after nodes were added, removed or connected otherwise."""
        self._makers: dict[str, NodeProto] = {}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.output:
                self._makers[name] = node
            for name in names_read(node):
                readers = self._readers.setdefault(name, [])
                readers.append(node)

    def maker(self, name: str) -> NodeProto | None:
        """Return the node that makes a tensor; None for inputs and constants."""
        return self._makers.get(name)

    def made_by(self, name: str, *operators: str) -> NodeProto | None:
        """Return the node that makes a tensor if it is one of these operators."""
        node = self._makers.get(name)
        if node is None or node.op_type not in operators:
            return None
        return node if is_standard(node) else None

    def readers(self, name: str) -> list[NodeProto]:
        """Return the nodes that read a tensor, each once for every time."""
        return self._readers.get(name, [])

    def only_reader(self, name: str) -> NodeProto | None:
        """Return the node that reads a tensor if nothing else does, not even the user."""
        readers = self.readers(name)
        if len(readers) == 1 and name not in self.outputs:
            return readers[0]
        return None

    def array(self, name: str) -> np.ndarray | None:
        """Return the value of a constant, None for what is computed."""
        tensor = self.initializers.get(name)
        if tensor is None:
            return None
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(tensor)
        return self._arrays[name]

    def scalar(self, name: str) -> float | None:
        """Return the value of a constant of one element, None for anything else."""
        array = self.array(name)
        if array is None or array.size != 1:
            return None
        return float(array.reshape(-1)[0])

    def integers(self, name: str) -> list[int] | None:
        """Return the values of a constant of whole numbers, None for anything else."""
        array = self.array(name)
        if array is None or array.dtype.kind != "i":
            return None
        return [int(value) for value in array.reshape(-1)]

    def shape(self, name: str) -> Shape | None:
        """Return a tensor's shape as far as it is known: numbers, names of dynamic dimensions, None."""
        tensor = self.initializers.get(name)
        if tensor is not None:
            return tuple(tensor.dims)
        if self._shapes is None:
            self._shapes = self._infer_shapes()
        return self._shapes.get(name)

    def _infer_shapes(self) -> dict[str, Shape]:
        # With the weights, inference would copy hundreds of megabytes for each pass.
        described = self.to_model(weights=False)
        model = name_dimensions(described, self.inputs)
        inferred = infer_shapes(model)
        return name_observed(inferred, self.observed)

    def rank(self, name: str) -> int | None:
        """Return a tensor's number of dimensions, None if it is not known."""
        shape = self.shape(name)
        return None if shape is None else len(shape)

    # --- changing ----------------------------------------------------------------------------------------------------

    def add_constant(self, array: np.ndarray, like: str = "constant") -> str:
        """Add a constant, or find an equal small one, and return its name."""
        array = np.asarray(array, order="C")  # `ascontiguousarray` would make scalars vectors
        if array.size <= LARGEST_SHARED:
            # Its values are in its name, so that the name alone finds an equal one.
            like = f"{like}_{array.dtype}_{short_text(array)}"
            if like in self.initializers:
                return like
        name = self.new_name(like)
        self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def add_integers(self, values: Sequence[int]) -> str:
        """Add a constant vector of 64-bit integers and return its name."""
        array = np.array(values, np.int64)
        return self.add_constant(array, "integers")

    def add_node(
        self,
        operator: str,
        inputs: Sequence[str],
        like: str,
        outputs: int = 1,
        **attributes: Any,
    ) -> list[str]:
        """Add a node and return the names of its outputs.

        Args:
            operator: standard ONNX operator.
            inputs: names of tensors.
            like: what the node and its outputs are named after.
            outputs: how many.
            **attributes: of the node.
        """
        name = self.new_name(like)
        made = [self.new_name(f"{name}_output_{number}") for number in range(outputs)]
        node = helper.make_node(operator, list(inputs), made, name=name, **attributes)
        self.nodes.append(node)
        return made

    def redirect(self, old: str, new: str) -> None:
        """Let all readers of `old` read `new`.

        An output of the model keeps its name: whatever made `old` is cut off, and the maker of `new` takes the name.
        """
        for node in self.nodes:
            for position, name in enumerate(node.input):
                if name == old:
                    node.input[position] = new
        if old in self.outputs:
            self._take_output(old, new)

    def _take_output(self, old: str, new: str) -> None:
        for node in self.nodes:
            for position, name in enumerate(node.output):
                if name == old:
                    node.output[position] = self.new_name(f"{old}_before")
        identity = self.new_name(f"{old}_identity")
        node = helper.make_node("Identity", [new], [old], name=identity)
        self.nodes.append(node)

    def new_name(self, like: str) -> str:
        """Return a name that nothing in the graph has yet."""
        name = like
        number = 1
        while name in self._used_names:
            number += 1
            name = f"{like}_{number}"
        self._used_names.add(name)
        return name

    def set_opset(self, version: int) -> None:
        """Declare another version of the standard operators. The nodes must mean the same in it."""
        frame = onnx.ModelProto()
        frame.CopyFrom(self._frame)
        for imported in frame.opset_import:
            if imported.domain in STANDARD_DOMAINS:
                imported.version = version
        self._frame = frame

    def clean(self) -> None:
        """Remove nodes and constants that no output depends on, sort the nodes and forget inferred shapes."""
        self.index()
        # By outputs: a node whose result nobody reads may hang on to a whole branch.
        needed_nodes = self._needed_nodes()
        self.nodes = in_order(needed_nodes)
        self.index()
        needed = set(self.outputs)
        for node in self.nodes:
            needed.update(names_read(node))
        for name in list(self.initializers):
            if name not in needed:
                del self.initializers[name]
        self._shapes = None

    def _needed_nodes(self) -> list[NodeProto]:
        needed: set[int] = set()
        waiting = list(self.outputs)
        while waiting:
            node = self._makers.get(waiting.pop())
            if node is not None and id(node) not in needed:
                needed.add(id(node))
                waiting.extend(names_read(node))
        return [node for node in self.nodes if id(node) in needed]

    def _all_names(self) -> set[str]:
        names = {*self.initializers, *self.inputs}
        for node in self.nodes:
            names.update(node.output)
            names.add(node.name)
        return names

    # --- writing -----------------------------------------------------------------------------------------------------

    def to_model(self, weights: bool = True) -> onnx.ModelProto:
        """Return the graph as a model.

        Args:
            weights: False: large constants are inputs of the same shape, for what needs no values.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._frame)
        model.graph.node.extend(self.nodes)
        for name, tensor in self.initializers.items():
            size = np.prod(tensor.dims)
            if weights or size <= LARGEST_READ_BY_INFERENCE:
                added = model.graph.initializer.add()
                added.CopyFrom(tensor)
                added.name = name
            else:
                described = helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
                model.graph.input.append(described)
        return model

    def save(self, path: Path, outputs: Sequence[str] = ()) -> None:
        """Write the graph as an ONNX file; weights beyond 2 GiB go to a file beside it.

        Args:
            path: of the file.
            outputs: tensors that are made outputs; none: those of the model.
        """
        model = self.to_model()
        if outputs:
            del model.graph.output[:]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        outside = path.with_name(f"{path.name}_data")
        # Weights would be appended to a file that is there.
        outside.unlink(missing_ok=True)
        if model.ByteSize() <= LARGEST_MESSAGE:
            onnx.save(model, path)
        else:
            onnx.save(model, path, save_as_external_data=True, location=outside.name)


def load_graph(path: Path) -> Graph:
    """Read an ONNX file with its weights."""
    return Graph(onnx.load(path))


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the inputs, outputs and versions of another one, and nothing else."""
    frame = onnx.ModelProto()
    frame.ir_version = model.ir_version
    frame.producer_name = model.producer_name
    frame.producer_version = model.producer_version
    frame.opset_import.extend(model.opset_import)
    frame.metadata_props.extend(model.metadata_props)
    frame.functions.extend(model.functions)
    frame.graph.name = model.graph.name
    constants = {tensor.name for tensor in model.graph.initializer}
    # Before IR version 4 every initializer was listed as an input, too.
    frame.graph.input.extend(value for value in model.graph.input if value.name not in constants)
    frame.graph.output.extend(model.graph.output)
    return frame


def short_text(array: np.ndarray) -> str:
    """Return shape and values of a small array as part of a name."""
    flat = array.reshape(-1)
    values = "_".join(map(str, flat))
    shape = "x".join(map(str, array.shape))
    return f"{shape}_{values}"
