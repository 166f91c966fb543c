"""How long the parts of a model take by their sizes, measured with what will serve it: INT8 in ONNX Runtime.

What counts for the time are shapes. So models of the encoder's shapes with a small vocabulary are made, exported as
`export.py` does it, and run in turns on one thread.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch

from trainer_ext.compression.width import Counts, counts_of
from trainer_ext.data.preprocessing.batch import Batch
from trainer_ext.data.preprocessing.truncation import Tokens
from trainer_ext.export.graph import fuse_for_runtime, optimise_graph
from trainer_ext.export.latency import THREADS, times_ms
from trainer_ext.export.quantise import Int8Setting, quantise
from trainer_ext.export.to_onnx import export_onnx
from trainer_ext.inference.onnx_session import OnnxSession
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.configuration import EncoderWithHeadConfig

# Of heads and neurons that are measured; between them times are interpolated.
SHARES = (1 / 16, 1 / 4, 1 / 2, 1)
ROUNDS = 30
IN_A_ROW = 4  # runs of a model, of which three are timed
VOCABULARY = 64  # tokens of the models that are measured

Sizes = tuple[tuple[int, int], ...]  # as `Counts`, for keys


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds that a part of a layer takes beyond its smallest measured size, by size, ascending."""

    heads: dict[int, float]
    neurons: dict[int, float]

    def of_heads(self, counts: Sequence[int]) -> np.ndarray:
        """Return (counts) the time of the attention, between measured sizes on a straight line."""
        return interpolated(self.heads, counts)

    def of_neurons(self, counts: Sequence[int]) -> np.ndarray:
        """Return (counts) the time of the feed-forward, between measured sizes on a straight line."""
        return interpolated(self.neurons, counts)


@dataclass(frozen=True)
class LatencyTable:
    """What a model's time is made of.

    Attributes:
        length: tokens of the text.
        start_ms: the time of the model as it is.
        least_ms: its time with the smallest measured size of each part.
        layer: what a layer adds.
        last_layer: what the last one adds: less where pooling reads the first token alone.
    """

    length: int
    start_ms: float
    least_ms: float
    layer: LayerTimes
    last_layer: LayerTimes

    def of_layers(self, count: int) -> list[LayerTimes]:
        """Return the times of each of `count` layers."""
        return [*[self.layer] * (count - 1), self.last_layer]

    def predict(self, start: Counts, counts: Counts) -> float:
        """Return the milliseconds of a model that was cut from `start` to `counts`."""
        return self.start_ms - self.parts_ms(start) + self.parts_ms(counts)

    def parts_ms(self, counts: Counts) -> float:
        """Return what all layers add."""
        total = 0.0
        for times, (heads, neurons) in zip(self.of_layers(len(counts)), counts, strict=True):
            total += times.of_heads([heads])[0] + times.of_neurons([neurons])[0]
        return float(total)


def interpolated(ms: Mapping[int, float], counts: Sequence[int]) -> np.ndarray:
    """Return (counts) the times at other sizes than those measured, which are ascending."""
    return np.interp(counts, list(ms), list(ms.values()))


def measure_table(model: EncoderWithHead, length: int) -> LatencyTable:
    """Measure a model, and what heads and neurons add to its time.

    Times of the smallest sizes are left out of those of others, so only differences of whole models count.

    Args:
        model: of an encoder that can be cut.
        length: tokens of the text.
    """
    start = counts_of(model)
    # A few sizes, and between them straight lines.
    heads, neurons = measured_sizes(start)
    depth = len(start)
    models = {"start": start, "least": [least_counts(start)] * depth}
    # Where pooling reads the first token alone, the last layer computes no other.
    is_alike = not reads_first_token_only(model)
    varied = depth if is_alike else depth - 1
    whole = (heads[-1], neurons[-1])
    for shape in shapes(heads, neurons):
        models[name_of(shape)] = [shape] * varied + [whole] * (depth - varied)
    ms = p50_ms(model, models, length)
    layer = layer_times(ms, heads, neurons, max(1, varied))
    last_layer = layer
    if not is_alike:
        alone = {name_of(shape): [shape] for shape in shapes(heads, neurons)}
        last_layer = layer_times(p50_ms(model, alone, length), heads, neurons, 1)
    return LatencyTable(length, ms["start"], ms["least"], layer, last_layer)


def measured_sizes(start: Counts) -> tuple[list[int], list[int]]:
    """Return the numbers of heads and of neurons that are measured, ascending."""
    most_heads = max(heads for heads, _ in start)
    most_neurons = max(neurons for _, neurons in start)
    return shares_of(most_heads), shares_of(most_neurons)


def shares_of(units: int) -> list[int]:
    """Return `SHARES` of the units, at least one, ascending."""
    return sorted({max(1, round(share * units)) for share in SHARES})


def least_counts(start: Counts) -> tuple[int, int]:
    """Return heads and neurons of the smallest layer that is measured."""
    heads, neurons = measured_sizes(start)
    return heads[0], neurons[0]


def shapes(heads: Sequence[int], neurons: Sequence[int]) -> list[tuple[int, int]]:
    """Return the layers that are measured: one of two parts varies, the other is whole."""
    varied = [(count, neurons[-1]) for count in heads]
    return varied + [(heads[-1], count) for count in neurons[:-1]]


def name_of(shape: tuple[int, int]) -> str:
    """Return the name of a model whose layers are alike."""
    heads, neurons = shape
    return f"{heads} heads, {neurons} neurons"


def layer_times(
    ms: Mapping[str, float],
    heads: Sequence[int],
    neurons: Sequence[int],
    depth: int,
) -> LayerTimes:
    """Return what one layer adds, from the times of models in which `depth` layers vary."""
    of_heads = {count: ms[name_of((count, neurons[-1]))] for count in heads}
    of_neurons = {count: ms[name_of((heads[-1], count))] for count in neurons}
    return LayerTimes(beyond_smallest(of_heads, depth), beyond_smallest(of_neurons, depth))


def beyond_smallest(ms: Mapping[int, float], depth: int) -> dict[int, float]:
    """Return what one of `depth` layers takes beyond the smallest size; more units never take less time.

    Args:
        ms: times of whole models by size, ascending.
        depth: layers of that size in each.
    """
    times = np.array(list(ms.values()))
    added = (times - times[0]) / depth
    # What a measurement says otherwise is its noise.
    rising = np.maximum.accumulate(np.maximum(added, 0))
    return dict(zip(ms, rising.tolist(), strict=True))


def reads_first_token_only(model: EncoderWithHead) -> bool:
    """Return whether the export computes the end of the last layer for the first token alone."""
    return model.config.pooling == "cls" and not model.config.token_classes


def p50_ms(
    model: EncoderWithHead,
    counts: Mapping[str, Counts],
    length: int,
) -> dict[str, float]:
    """Return the median time of models of other sizes, measured in turns, by name.

    Args:
        model: gives everything but the sizes of its layers.
        counts: heads and neurons of each layer, by name.
        length: tokens of the text.
    """
    # Models of the same sizes are measured once.
    names: dict[Sizes, str] = {}
    calls: dict[str, Callable[[Batch], Any]] = {}
    with torch.random.fork_rng(), quiet_export(), TemporaryDirectory() as scratch:
        for name, layers in counts.items():
            sizes = tuple(layers)
            if sizes in names:
                continue
            names[sizes] = name
            folder = Path(scratch) / str(len(names))
            folder.mkdir()
            calls[name] = int8_session(twin(model, sizes), folder).run
        times = times_ms(calls, [text_of(model, length)] * ROUNDS, IN_A_ROW)
    ms = {}
    for name, layers in counts.items():
        ms[name] = float(np.median(times[names[tuple(layers)]]))
    return ms


def twin(model: EncoderWithHead, sizes: Sizes) -> EncoderWithHead:
    """Return a model with fresh weights that differs in the sizes of its layers and in its vocabulary alone."""
    config = cast(EncoderWithHeadConfig, copy.deepcopy(model.config))
    padding = config.encoder.pad_token_id or 0
    # A table of embeddings takes no time, but memory.
    config.encoder.vocab_size = max(VOCABULARY, padding + 1)
    config.encoder.num_hidden_layers = len(sizes)
    config.layer_sizes = [{"heads": heads, "inner": neurons} for heads, neurons in sizes]
    return EncoderWithHead(config).float()


def int8_session(model: EncoderWithHead, folder: Path) -> OnnxSession:
    """Export a model, quantise it whole, and load it as it is served."""
    # As the export does it, without the gate: these weights say nothing.
    path = export_onnx(model, folder).path
    optimise_graph(path, path)
    fuse_for_runtime(path, path)
    quantised = quantise(path, folder, Int8Setting("all"))
    return OnnxSession(quantised, THREADS, "cpu")


def text_of(model: EncoderWithHead, length: int) -> Batch:
    """Return a text of so many tokens."""
    padding = model.config.encoder.pad_token_id or 0
    token = 1 + padding % (VOCABULARY - 1)  # any but padding, which gets no position of its own
    text = Tokens([token] * length, [0] * length)
    return Batch([text], padding, model.config.pipeline["input_names"])


@contextmanager
def quiet_export() -> Iterator[None]:
    """Leave out the notes on each export."""
    logger = logging.getLogger("trainer_ext.export")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
