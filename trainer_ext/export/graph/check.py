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
# Answers that are all but equal have no spread to speak of.
SMALLEST_SPREAD = 1e-6
# Batches as lists of lengths: one text, three texts with padding, a single token, two long ones.
BATCHES = ((7,), (12, 5, 1), (1,), (23, 33), (2, 2))
UNKNOWN_VOCABULARY = 8
WHOLE_NUMBERS = (TensorProto.INT64, TensorProto.INT32)

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
    feeds = []
    for seed, lengths in enumerate(BATCHES):
        feed = example_feed(graph, lengths, seed)
        feeds.append(feed)
    return run(graph, feeds, folder)


def why_different(graph: Graph, expected: Example, found: Example) -> str:
    """Return why a graph may not take the place of the one that answered as expected, empty if it may."""
    for number, name in enumerate(graph.outputs):
        before = [answers[number] for answers in expected.answers]
        after = [answers[number] for answers in found.answers]
        if list(map(np.shape, after)) != list(map(np.shape, before)):
            return f"the shape of {name} changed"
        difference = relative_difference(before, after)
        if not difference <= TOLERANCE:
            return f"{name} differs by {difference:.1e} of its spread"
    return ""


def relative_difference(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Return the largest difference as a part of the expected values' standard deviation."""
    before = np.concatenate(expected, axis=None, dtype=np.float64)
    after = np.concatenate(found, axis=None, dtype=np.float64)
    differences = np.abs(before - after)
    largest = float(differences.max())
    if largest == 0:
        return 0.0
    spread = float(before.std())
    return largest / max(spread, SMALLEST_SPREAD)


def example_feed(graph: Graph, lengths: tuple[int, ...], seed: int) -> Feed:
    """Return random inputs for texts of these lengths.

    Raises:
        NotRunnable: for an input that is not (batch, length) whole numbers.
    """
    generator = np.random.default_rng(seed)
    longest = max(lengths)
    shape = (len(lengths), longest)
    is_token = np.arange(longest) < np.array(lengths)[:, None]
    mask = is_token.astype(np.int64)
    feed: Feed = {}
    for value in graph.input_values:
        name = value.name
        kind = value.type.tensor_type.elem_type
        if kind not in WHOLE_NUMBERS or graph.rank(name) != 2:
            raise NotRunnable(f"the input {name} is not (batch, length) whole numbers")
        if "mask" in name:
            values = mask
        else:
            tokens = vocabulary(graph, name)
            values = generator.integers(0, tokens, shape)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
        feed[name] = values.astype(dtype)
    return feed


def vocabulary(graph: Graph, name: str) -> int:
    """Return how many rows the table has that an input looks up."""
    for reader in graph.readers(name):
        if reader.op_type != "Gather" or reader.input[1] != name:
            continue
        table = graph.shape(reader.input[0])
        if table is not None and isinstance(table[0], int):
            return table[0]
    return UNKNOWN_VOCABULARY


def run(graph: Graph, feeds: list[Feed], folder: Path) -> Example:
    """Run a graph, and note the shapes of all its tensors.

    Raises:
        NotRunnable: if the graph is not valid, or ONNX Runtime cannot load or run it.
    """
    names: list[str] = []
    for node in graph.nodes:
        # An optional output that is left out has no name.
        names += filter(None, node.output)
    places = [names.index(name) for name in graph.outputs]
    path = folder / "candidate.onnx"
    answers: list[list[np.ndarray]] = []
    seen: list[list[tuple[int, ...]]] = []
    try:
        described = graph.to_model(weights=False)
        onnx.checker.check_model(described)
        graph.save(path, names)
        session = session_as_written(path)
        for feed in feeds:
            arrays = session.run(names, feed)
            shapes = [np.shape(array) for array in arrays]
            seen.append(shapes)
            outputs = [arrays[place] for place in places]
            answers.append(outputs)
    except Exception as error:  # onnx and onnxruntime raise their own types, one per cause
        raise NotRunnable(describe_error(error)) from error
    finally:
        for file in folder.glob("candidate.onnx*"):
            file.unlink()
    shapes_by_name = name_shapes(names, seen, feeds)
    return Example(feeds, answers, shapes_by_name)


def session_as_written(path: Path) -> ort.InferenceSession:
    """Load a graph without the runtime's own rewrites: they are not what is checked, and take longer than the runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def name_shapes(
    names: list[str],
    seen: list[list[tuple[int, ...]]],
    feeds: list[Feed],
) -> dict[str, Shape]:
    """Return the shapes of tensors, given those of several runs."""
    # What a dimension is shows in its sizes over all runs: 1 each time, or the texts or tokens of each run.
    always_one = (1,) * len(feeds)
    meanings: dict[tuple[int, ...], Dimension] = {always_one: 1}
    shapes_of_inputs = [np.shape(next(iter(feed.values()))) for feed in feeds]
    for name, sizes in zip(DIMENSIONS, zip(*shapes_of_inputs, strict=True), strict=True):
        meanings[sizes] = name
    shapes: dict[str, Shape] = {}
    for name, ran in zip(names, zip(*seen, strict=True), strict=True):
        ranks = set(map(len, ran))
        if len(ranks) == 1:
            sizes_by_axis = zip(*ran, strict=True)
            shapes[name] = tuple(map(meanings.get, sizes_by_axis))
    return shapes
