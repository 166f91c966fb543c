"""An encoder of random weights as `export.py` describes one, and the same encoder in numpy, one text at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erf

from trainer_ext.inference.native.plan import Plan

EPSILON = 1e-5
TOKENS = 50
POSITIONS = 90
# RoBERTa's first position.
FIRST_POSITION = 2
TYPES = 2
# 255 * (63 + 63) fits into 16 bits, so that every library is exact.
LARGEST_WEIGHT = 63

Arrays = dict[str, Any]


@dataclass
class SmallEncoder:
    """The content of encoder.json and of the file it points into, and the numbers for `hidden_states`."""

    is_first_token_only: bool
    content: dict[str, Any]
    layers: list[Arrays]
    norm: Arrays
    tables: Arrays
    numbers: bytearray = field(default_factory=bytearray)
    rounds_attention: bool = False

    def save(self, folder: Path) -> Plan:
        """Write the file and return the plan."""
        file = folder / "model_quantized.onnx"
        file.write_bytes(bytes(self.numbers))
        return Plan(file, self.content, folder / "native" / "encoder.json")

    def hidden_states(self, ids: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Return the last hidden states (L, hidden) of one text; (1, hidden) where only the first is computed."""
        positions = np.arange(len(ids)) + FIRST_POSITION
        rows = self.tables["token"][ids] + self.tables["position"][positions]
        rows = rows + self.tables["type"][types] + self.tables["constant"]
        states = normalise(rows.astype(np.float32), self.norm)
        for layer in self.layers:
            states = self._layer(states, layer)
        return states

    def _layer(self, states: np.ndarray, layer: Arrays) -> np.ndarray:
        joined = multiply(states, layer["joined"])
        if "query" in layer:
            states = states[:1]
            query = multiply(states, layer["query"])
            key, value = np.split(joined, 2, axis=1)
        else:
            query, key, value = np.split(joined, 3, axis=1)
        rounding = as_bfloat16 if self.rounds_attention else as_it_is
        scale = self.content["attention_scale"]
        context = attention(query, key, value, layer["heads"], scale, rounding)
        middle = normalise(multiply(context, layer["output"]) + states, layer["attention_norm"])
        wide = multiply(middle, layer["inner"])
        wide = (wide / 2 * (1 + erf(wide / np.sqrt(2)))).astype(np.float32)
        return normalise(multiply(wide, layer["outer"]) + middle, layer["output_norm"])


class File:
    """The numbers of an encoder, one behind the other, as in an ONNX file."""

    def __init__(self) -> None:
        self.content = bytearray(b"not aligned")

    def place(self, array: np.ndarray | None) -> dict[str, Any] | None:
        """Append an array, and return its place as the plan has it; None without one."""
        if array is None:
            return None
        offset = len(self.content)
        self.content.extend(array.tobytes())
        return {"offset": offset, "type": str(array.dtype), "shape": list(array.shape)}


def linear_numbers(
    generator: np.random.Generator, depth: int, columns: int, has_bias: bool
) -> Arrays:
    """Draw a product's numbers: one scale where there is no bias, and no smoothing then, so that all forms are run."""
    bound = LARGEST_WEIGHT
    weights = generator.integers(-bound, bound + 1, (depth, columns), dtype=np.int8)
    scales = generator.uniform(0.5, 1.5, columns if has_bias else 1).astype(np.float32)
    scales *= np.float32(1 / (40 * np.sqrt(depth)))
    numbers = {"weights": weights, "scales": scales, "bias": None, "smoothing": None}
    if has_bias:
        numbers["bias"] = generator.normal(0.0, 0.5, columns).astype(np.float32)
        numbers["smoothing"] = generator.uniform(0.5, 2.0, depth).astype(np.float32)
    return numbers


def small_encoder(
    hidden: int = 24,
    head_size: int = 8,
    sizes: Sequence[tuple[int, int]] = ((3, 40), (3, 40)),
    is_first_token_only: bool = False,
) -> SmallEncoder:
    """Make an encoder: tables in 8 bits and in floats, scales for each column or for all, with and without bias.

    Args:
        hidden: the size of a state.
        head_size: the width of a head.
        sizes: heads and feed-forward neurons of each layer.
        is_first_token_only: whether the last layer computes only that.
    """
    generator = np.random.default_rng(hidden + sizes[0][1])
    file = File()
    place = file.place

    def floats(*shape: int, mean: float = 0.0, spread: float = 0.5) -> np.ndarray:
        return generator.normal(mean, spread, shape).astype(np.float32)

    def linear(depth: int, columns: int, has_bias: bool = True) -> tuple[Arrays, Arrays]:
        made = linear_numbers(generator, depth, columns, has_bias)
        return made, {name: place(array) for name, array in made.items()}

    def norm() -> tuple[Arrays, Arrays]:
        weight = floats(hidden, mean=1.0, spread=0.2)
        bias = floats(hidden, spread=0.1)
        return {"weight": weight, "bias": bias}, {"weight": place(weight), "bias": place(bias)}

    def rows_in_bytes(rows: int) -> tuple[np.ndarray, Arrays]:
        values = generator.integers(-127, 128, (rows, hidden), dtype=np.int8)
        scales = generator.uniform(0.003, 0.01, (rows, 1)).astype(np.float32)
        return values * scales, {"rows": place(values), "scales": place(scales)}

    def rows_in_floats(rows: int) -> tuple[np.ndarray, Arrays]:
        values = floats(rows, hidden)
        return values, {"rows": place(values), "scales": None}

    tables: Arrays = {}
    described = []
    for row_of, offset, (values, places) in (
        ("token", 0, rows_in_bytes(TOKENS)),
        ("position", FIRST_POSITION, rows_in_floats(POSITIONS + FIRST_POSITION)),
        ("type", 0, rows_in_bytes(TYPES)),
        ("constant", 0, rows_in_floats(1)),
    ):
        tables[row_of] = values
        described.append({**places, "row_of": row_of, "offset": offset})
    embedding_norm, embedding_norm_places = norm()
    made: list[Arrays] = []
    layer_places: list[Arrays] = []
    for number, (heads, inner) in enumerate(sizes):
        has_query = is_first_token_only and number == len(sizes) - 1
        width = heads * head_size
        layer: Arrays = {"heads": heads}
        places: Arrays = {"query": None}
        for name, depth, columns in (
            ("joined", hidden, (2 if has_query else 3) * width),
            ("query", hidden, width),
            ("output", width, hidden),
            ("inner", hidden, inner),
            ("outer", inner, hidden),
        ):
            if name != "query" or has_query:
                layer[name], places[name] = linear(depth, columns, name != "output")
        for name in ("attention_norm", "output_norm"):
            layer[name], places[name] = norm()
        made.append(layer)
        layer_places.append(places)
    content = {
        "hidden": hidden,
        "head_size": head_size,
        "epsilon": EPSILON,
        "attention_scale": head_size**-0.5,
        "is_pair_safe": True,
        "output": "states",
        "tables": described,
        "embedding_norm": embedding_norm_places,
        "layers": layer_places,
    }
    return SmallEncoder(
        is_first_token_only,
        content,
        made,
        embedding_norm,
        tables,
        file.content,
    )


def multiply(rows: np.ndarray, linear: Arrays) -> np.ndarray:
    """Smoothing, then DynamicQuantizeLinear, MatMulInteger, scales and bias as ONNX defines them."""
    if linear["smoothing"] is not None:
        rows = rows * linear["smoothing"]
    low = min(rows.min(), np.float32(0))
    high = max(rows.max(), np.float32(0))
    scale = (high - low) / np.float32(255)
    zero_point = np.clip(np.rint(-low / scale), 0, 255)
    quantised = np.clip(np.rint(rows / scale) + zero_point, 0, 255) - zero_point
    sums = quantised.astype(np.int64) @ linear["weights"].astype(np.int64)
    product = sums.astype(np.float32) * (scale * linear["scales"])
    if linear["bias"] is None:
        return product
    return product + linear["bias"]


def normalise(rows: np.ndarray, norm: Arrays) -> np.ndarray:
    """LayerNormalization over the last axis."""
    exact = rows.astype(np.float64)
    mean = exact.mean(axis=1, keepdims=True)
    variance = exact.var(axis=1, keepdims=True)
    scaled = (exact - mean) / np.sqrt(variance + EPSILON)
    return (scaled * norm["weight"] + norm["bias"]).astype(np.float32)


def as_it_is(numbers: np.ndarray) -> np.ndarray:
    return numbers


def as_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Round float32 to the 8 leading bits, ties to even."""
    bits = numbers.astype(np.float32).view(np.uint32)
    half = 0x7FFF + (bits >> 16 & 1)
    rounded = (bits + half) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


def attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    heads: int,
    scale: float,
    rounding: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """softmax(Q K^T * scale) V for each head; what is multiplied is rounded."""
    parts = []
    for q, k, v in zip(
        np.split(rounding(query).astype(np.float64), heads, axis=1),
        np.split(rounding(key).astype(np.float64), heads, axis=1),
        np.split(rounding(value).astype(np.float64), heads, axis=1),
        strict=True,
    ):
        scores = q @ k.T * scale
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        parts.append(rounding(powers) @ v / powers.sum(axis=1, keepdims=True))
    return np.concatenate(parts, axis=1).astype(np.float32)


def random_texts(lengths: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and types of texts, the same for the same lengths."""
    texts = []
    for number, length in enumerate(lengths):
        generator = np.random.default_rng(1000 * number + length)
        ids = generator.integers(0, TOKENS, length, dtype=np.int64)
        types = generator.integers(0, TYPES, length, dtype=np.int64)
        texts.append((ids, types))
    return texts
