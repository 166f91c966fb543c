"""Whether a rewritten graph is valid and answers as it did before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from trainer_ext.errors import describe_error
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.shapes import DIMENSIONS, Shape

# Largest difference allowed, as a part of the spread of the answers. Float32 alone makes about 1e-6.
TOLERANCE = 1e-4
# Batches as lists of lengths: one text, three texts with padding, a single token, two long ones.
BATCHES = ((7,), (12, 5, 1), (1,), (23, 33), (2, 2))
UNKNOWN_VOCABULARY = 8

Feed = dict[str, np.ndarray]


class NotRunnable(Exception):
    """The graph does not run on the example inputs."""


@dataclass(frozen=True)
class Example:
    """Inputs of several runs and what the graph answers to them."""

    feeds: list[Feed]
    answers: list[list[np.ndarray]]


def example_of(graph: Graph, folder: Path) -> Example:
    """Make random token ids of several lengths, with and without padding, and run them.

    Raises:
        NotRunnable: if the graph has inputs that are not those of a text encoder, or does not run on them.
    """
    feeds = [example_feed(graph, lengths, seed) for seed, lengths in enumerate(BATCHES)]
    return Example(feeds, run(graph, feeds, folder))


def why_different(graph: Graph, example: Example, folder: Path) -> str:
    """Return why a graph may not take the place of the one that made the example, empty if it may."""
    try:
        onnx.checker.check_model(graph.to_model(weights=False))
        answers = run(graph, example.feeds, folder)
    except (onnx.checker.ValidationError, NotRunnable) as error:
        return describe_error(error)
    for number, name in enumerate(graph.outputs):
        expected = [run[number] for run in example.answers]
        found = [run[number] for run in answers]
        if [each.shape for each in found] != [each.shape for each in expected]:
            return f"the shape of {name} changed"
        difference = relative_difference(expected, found)
        if not difference <= TOLERANCE:
            return f"{name} differs by {difference:.1e} of its spread"
    return ""


def relative_difference(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Return the largest difference as a part of the expected values' standard deviation."""
    before = np.concatenate([each.reshape(-1) for each in expected]).astype(np.float64)
    after = np.concatenate([each.reshape(-1) for each in found]).astype(np.float64)
    largest = float(np.abs(before - after).max())
    if largest == 0:
        return 0.0
    return largest / max(float(before.std()), 1e-6)


def example_feed(graph: Graph, lengths: tuple[int, ...], seed: int) -> Feed:
    """Return random inputs for texts of these lengths.

    Raises:
        NotRunnable: for an input that is not (batch, length) whole numbers.
    """
    generator = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths))
    feed: Feed = {}
    for value in graph.input_values:
        kind = value.type.tensor_type.elem_type
        if kind not in (TensorProto.INT64, TensorProto.INT32) or graph.rank(value.name) != 2:
            raise NotRunnable(f"the input {value.name} is not (batch, length) whole numbers")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
        if "mask" in value.name:
            values = np.int64(np.arange(shape[1]) < np.array(lengths)[:, None])
        else:
            values = generator.integers(0, vocabulary(graph, value.name), shape)
        feed[value.name] = values.astype(dtype)
    return feed


def observed_shapes(graph: Graph, feeds: list[Feed], folder: Path) -> dict[str, Shape]:
    """Return the shape of each tensor that is computed, with the dimensions that count texts or tokens by name.

    Raises:
        NotRunnable: if ONNX Runtime does not run it.
    """
    names = [name for node in graph.nodes for name in node.output if name]
    ran: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    for arrays in run(graph, feeds, folder, names):
        for name, array in zip(names, arrays, strict=True):
            ran[name].append(np.shape(array))
    counts = {
        tuple(next(iter(feed.values())).shape[axis] for feed in feeds): name
        for axis, name in enumerate(DIMENSIONS)
    }
    shapes: dict[str, Shape] = {}
    for name, seen in ran.items():
        if len({len(shape) for shape in seen}) == 1:
            shapes[name] = tuple(counts.get(sizes) for sizes in zip(*seen, strict=True))
    return shapes


def vocabulary(graph: Graph, name: str) -> int:
    """Return how many rows the table has that an input looks up."""
    for reader in graph.readers(name):
        if reader.op_type == "Gather" and reader.input[1] == name:
            table = graph.shape(reader.input[0])
            if table is not None and isinstance(table[0], int):
                return table[0]
    return UNKNOWN_VOCABULARY


def run(
    graph: Graph, feeds: list[Feed], folder: Path, names: Sequence[str] = ()
) -> list[list[np.ndarray]]:
    """Return the outputs of each run.

    Args:
        graph: is written to a file first.
        feeds: one for each run.
        folder: for the file.
        names: tensors that are returned; none: the outputs of the model.

    Raises:
        NotRunnable: if ONNX Runtime cannot load or run the graph.
    """
    path = folder / "candidate.onnx"
    graph.save(path, names)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # As written: the runtime's own rewrites are not what is checked, and take longer than the runs.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return [session.run(names or graph.outputs, feed) for feed in feeds]
    except Exception as error:  # onnxruntime raises its own types, one per cause
        raise NotRunnable(describe_error(error)) from error
    finally:
        for file in folder.glob("candidate.onnx*"):
            file.unlink()
