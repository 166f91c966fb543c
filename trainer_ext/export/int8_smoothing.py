"""Activations that one scale for all channels suits: what is hard to quantise moves into the weights.

Dynamic INT8 has one scale for all activations of a text. A channel that is much larger than the others takes it for
itself, and leaves them few of the 256 steps; weights have a scale for each output and lose less. So each channel of a
product's input is divided by a factor s, and the row of the weights that it meets is multiplied by s: x W = (x / s)
(s W), which changes nothing in float.

Source: SmoothQuant, Xiao et al. 2022, arXiv:2211.10438, equation 4.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto

from trainer_ext.data.preprocessing.batch import Arrays, Batch
from trainer_ext.export.graph.nodes import is_standard
from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.graph.optimise import GraphReport, apply_passes
from trainer_ext.export.texts import evenly_spaced
from trainer_ext.inference.onnx_session import OnnxSession
from trainer_ext.inference.single import SinglePredictor

# How much of the range moves into the weights, at most: each input takes the strength that loses least on a sample.
# None: without outliers, weights lose more by it than activations gain. The paper takes 0.5, and 0.75 for models with
# larger outliers; with MiniLM 0.7 to 0.8 were best for all inputs alike (root mean square of the logits' differences
# 0.026 of their spread, 0.047 without).
STRENGTHS = (0.0, 0.5, 0.75)
# Texts whose activations are seen, and those of which they are kept whole to compare strengths.
MOST_TEXTS = 64
KEPT_TEXTS = 4
# Of factors: a channel that is all but silent on these texts need not be so on others.
SMALLEST_FACTOR = 1e-3
LARGEST_FACTOR = 1e3


class RangeSession(OnnxSession):
    """Run a model that has the inputs of its products as further outputs, and keep what they become.

    Args:
        path: the model.
        threads: of a run.
        watched: names of the further outputs (..., channels).

    Attributes:
        largest: of each, the largest absolute value of each channel (channels,) in all runs.
        samples: of each, the values (tokens, channels) of the first `KEPT_TEXTS` runs.
    """

    def __init__(self, path: Path, threads: int, watched: Collection[str]):
        super().__init__(path, threads, "cpu", dynamic_int8=False)
        self._watched = watched
        self.largest: dict[str, np.ndarray] = {}
        self.samples: dict[str, list[np.ndarray]] = {name: [] for name in watched}

    def run(self, batch: Batch) -> Arrays:
        """Return the model's own outputs."""
        arrays = super().run(batch)
        for name in self._watched:
            values = arrays.pop(name)
            values = values.reshape(-1, values.shape[-1])
            if len(self.samples[name]) < KEPT_TEXTS:
                self.samples[name].append(values)
            largest = np.abs(values).max(axis=0)
            before = self.largest.get(name, largest)
            self.largest[name] = np.maximum(before, largest)
        return arrays


def smooth_activations(
    source: Path,
    target: Path,
    predictor: SinglePredictor,
    texts: Sequence[Any],
    threads: int = 1,
    skip: Collection[str] = (),
) -> GraphReport:
    """Smooth the inputs of all products of an encoder; undone if that changes the float model's answers.

    Args:
        source: the float model.
        target: where the smoothed model goes; may be the source.
        predictor: answers with the float model; its tokenizer reads the texts.
        texts: of which at most `MOST_TEXTS` are run. Of their activations only the factors get into the file.
        threads: of a run.
        skip: names of passes that are left out.

    Returns:
        How many inputs were smoothed, or why none, as `smooth`.
    """
    seen = evenly_spaced(texts, MOST_TEXTS)

    def smooth(graph: Graph) -> int:
        groups = products_by_input(graph)
        if not groups:
            return 0
        with TemporaryDirectory(dir=target.parent) as scratch:
            path = Path(scratch) / "watched.onnx"
            graph.save(path, [*graph.outputs, *groups])
            session = RangeSession(path, threads, list(groups))
            # One text a run: there are no padding tokens, which INT8 does not meet either.
            watched = SinglePredictor(session, predictor.tokenizer, predictor.pipeline, 1)
            watched.logits(seen)
        smoothed = 0
        for name, products in groups.items():
            seen_of = Seen(session.largest[name], session.samples[name])
            smoothed += smooth_input(graph, name, products, seen_of)
        graph.clean()
        return smoothed

    return apply_passes({"smooth": smooth}, source, target, skip)


def products_by_input(graph: Graph) -> dict[str, list[NodeProto]]:
    """Return the products to smooth by the tensor that they read: those of one share its factors."""
    groups: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        if is_smoothable(graph, node):
            groups.setdefault(node.input[0], []).append(node)
    return groups


def is_smoothable(graph: Graph, node: NodeProto) -> bool:
    """Tell whether a node multiplies all tokens' activations (texts, tokens, inputs) with weights of its own."""
    if node.op_type != "MatMul" or not is_standard(node):
        return False
    activations, name = node.input
    weights = graph.initializers.get(name)
    if weights is None or weights.data_type != TensorProto.FLOAT or len(weights.dims) != 2:
        return False
    # Layers that share their weights (ALBERT) would need one factor for the inputs of all.
    if graph.only_reader(name) is None:
        return False
    return graph.maker(activations) is not None and graph.rank(activations) == 3


class Seen(NamedTuple):
    """What a product's input was on some texts: its channels' largest values, and a few texts' values whole."""

    largest: np.ndarray
    samples: Sequence[np.ndarray]


def smooth_input(graph: Graph, name: str, products: Sequence[NodeProto], seen: Seen) -> bool:
    """Divide a tensor by its factors for these products, and multiply the rows of their weights.

    Args:
        graph: is changed.
        name: of the tensor (..., inputs).
        products: that read it.
        seen: of the tensor.

    Returns:
        Whether that loses less than leaving it as it is; else nothing is changed.
    """
    matrices = []
    for product in products:
        weights = graph.array(product.input[1])
        assert weights is not None  # is_smoothable
        matrices.append(weights)
    factors = best_factors(np.concatenate(matrices, axis=1), seen)
    if factors is None:
        return False
    inverse = graph.add_constant((1 / factors).astype(np.float32), "smooth_inverse")
    (smoothed,) = graph.add_node("Mul", [name, inverse], "smooth")
    for product, weights in zip(products, matrices, strict=True):
        scaled = (weights * factors[:, None]).astype(np.float32)
        like = f"{product.input[1]}_smooth"
        product.input[0] = smoothed
        product.input[1] = graph.add_constant(scaled, like)
    return True


def best_factors(weights: np.ndarray, seen: Seen) -> np.ndarray | None:
    """Return the factors of the strength whose 8-bit products are nearest to the float ones; None: leave it as it is.

    Args:
        weights: (inputs, outputs) of all products that read the input.
        seen: of the input.
    """
    expected = [values @ weights for values in seen.samples]
    least = np.inf
    best = None
    for strength in STRENGTHS:
        factors = None
        scaled = weights
        if strength:
            factors = smoothing_factors(seen.largest, np.abs(weights).max(axis=1), strength)
            scaled = (weights * factors[:, None]).astype(np.float32)
        rounded_weights = round_weights(scaled)
        error = 0.0
        for values, product in zip(seen.samples, expected, strict=True):
            divided = values if factors is None else (values / factors).astype(np.float32)
            difference = round_activations(divided) @ rounded_weights - product
            error += float(np.square(difference).sum())
        if error < least:
            least = error
            best = factors
    return best


def round_weights(weights: np.ndarray) -> np.ndarray:
    """Return weights (inputs, outputs) as 8 bits have them, with a scale for each output."""
    steps = np.maximum(np.abs(weights).max(axis=0) / 127, np.finfo(np.float32).tiny)
    rounded: np.ndarray = np.rint(weights / steps) * steps
    return rounded


def round_activations(values: np.ndarray) -> np.ndarray:
    """Return a text's activations (tokens, inputs) as 8 bits have them, with one scale for all."""
    span = max(float(values.max()), 0.0) - min(float(values.min()), 0.0)
    step = max(span / 255, float(np.finfo(np.float32).tiny))
    rounded: np.ndarray = np.rint(values / step) * step
    return rounded


def smoothing_factors(activations: np.ndarray, weights: np.ndarray, strength: float) -> np.ndarray:
    """Return the factor s of each channel, float64 (inputs,).

    Args:
        activations: the largest absolute value of each channel.
        weights: the largest absolute weight that meets it.
        strength: how much of the range moves into the weights, 0 to 1 (the paper's alpha).
    """
    is_used = (activations > 0) & (weights > 0)
    # A channel without values, or that nothing reads, stays as it is: 1 / 1.
    x = np.where(is_used, activations, 1).astype(np.float64)
    w = np.where(is_used, weights, 1).astype(np.float64)
    factors = x**strength / w ** (1 - strength)  # Eq. 4
    return np.clip(factors, SMALLEST_FACTOR, LARGEST_FACTOR)
