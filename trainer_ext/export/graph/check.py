"""Whether a rewritten graph is valid and answers as it did before."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from trainer_ext.errors import describe_error
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.shapes import DIMENSIONS, Dimension, Shape

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
    """Inputs of several runs, and what a graph made of them.

    Attributes:
        feeds: inputs of each run.
        answers: outputs of each run.
        shapes: of each tensor that is computed: numbers of texts and tokens by name, 1 where it is always 1.
    """

    feeds: list[Feed]
    answers: list[list[np.ndarray]]
    shapes: dict[str, Shape]


def example_of(graph: Graph, folder: Path) -> Example:
    """Make random token ids of several lengths, with and without padding, and run them.

    Raises:
        NotRunnable: if the graph has inputs that are not those of a text encoder, or does not run on them.
    """
    feeds = [example_feed(graph, lengths, seed) for seed, lengths in enumerate(BATCHES)]
    return run(graph, feeds, folder)


def why_different(graph: Graph, expected: Example, found: Example) -> str:
    """Return why a graph may not take the place of the one that answered as expected, empty if it may."""
    for number, name in enumerate(graph.outputs):
        before = [answers[number] for answers in expected.answers]
        after = [answers[number] for answers in found.answers]
        if [each.shape for each in after] != [each.shape for each in before]:
            return f"the shape of {name} changed"
        difference = relative_difference(before, after)
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
            is_token = np.arange(shape[1]) < np.array(lengths)[:, None]
            values = is_token.astype(np.int64)
        else:
            values = generator.integers(0, vocabulary(graph, value.name), shape)
        feed[value.name] = values.astype(dtype)
    return feed


def vocabulary(graph: Graph, name: str) -> int:
    """Return how many rows the table has that an input looks up."""
    for reader in graph.readers(name):
        if reader.op_type == "Gather" and reader.input[1] == name:
            table = graph.shape(reader.input[0])
            if table is not None and isinstance(table[0], int):
                return table[0]
    return UNKNOWN_VOCABULARY


def run(graph: Graph, feeds: list[Feed], folder: Path) -> Example:
    """Run a graph, and note the shapes of all its tensors.

    Raises:
        NotRunnable: if the graph is not valid, or ONNX Runtime cannot load or run it.
    """
    names = [name for node in graph.nodes for name in node.output if name]
    path = folder / "candidate.onnx"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # As written: the runtime's own rewrites are not what is checked, and take longer than the runs.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    answers: list[list[np.ndarray]] = []
    seen: list[list[tuple[int, ...]]] = []
    try:
        onnx.checker.check_model(graph.to_model(weights=False))
        graph.save(path, names)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for feed in feeds:
            arrays = session.run(names, feed)
            seen.append([np.shape(array) for array in arrays])
            answers.append([arrays[names.index(name)] for name in graph.outputs])
    except Exception as error:  # onnx and onnxruntime raise their own types, one per cause
        raise NotRunnable(describe_error(error)) from error
    finally:
        for file in folder.glob("candidate.onnx*"):
            file.unlink()
    return Example(feeds, answers, name_shapes(names, seen, feeds))


def name_shapes(
    names: list[str], seen: list[list[tuple[int, ...]]], feeds: list[Feed]
) -> dict[str, Shape]:
    """Return the shapes of tensors, given those of several runs."""
    counts: dict[tuple[int, ...], Dimension] = {(1,) * len(feeds): 1}
    for axis, name in enumerate(DIMENSIONS):
        counts[tuple(next(iter(feed.values())).shape[axis] for feed in feeds)] = name
    shapes: dict[str, Shape] = {}
    for name, ran in zip(names, zip(*seen, strict=True), strict=True):
        if len({len(shape) for shape in ran}) == 1:
            shapes[name] = tuple(counts.get(sizes) for sizes in zip(*ran, strict=True))
    return shapes
