"""The least time that the matrix products of a text can take on this machine, as a bar for everything around them.

Products with weights are counted in 8 bits, the two products of attention (with keys, with values) in float32, for the
tokens that a text has. Each kind is taken to run as fast as one large product does on one thread here. Whatever else
a model needs (normalising, GELU, softmax, quantising, tokenising) counts as avoidable, so that 1.0 cannot be reached.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from side_by_side import one_thread
from transformers import BertConfig

ROWS, INNER, COLUMNS = 512, 1024, 1024  # of the product whose speed is measured
REPETITIONS = 200  # some two seconds: the shortest is one that nothing disturbed


@dataclass(frozen=True)
class Rates:
    """Operations a second of one thread, in 8 bits and in float32; a multiply-add is two."""

    int8: float
    float32: float


def int8_operations(config: BertConfig, tokens: int, first_token_only: bool) -> int:
    """Count the operations of all products with weights in the encoder, for a text of so many tokens.

    Args:
        config: of the encoder.
        tokens: special tokens included.
        first_token_only: the last layer needs keys and values of all tokens, but everything else of the first only.
    """
    square = config.hidden_size**2
    feed_forward = 2 * config.hidden_size * config.intermediate_size
    keys_and_values = 2 * square
    query_and_output = 2 * square
    whole_layers = config.num_hidden_layers - int(first_token_only)
    multiply_adds = whole_layers * tokens * (keys_and_values + query_and_output + feed_forward)
    if first_token_only:
        multiply_adds += tokens * keys_and_values + query_and_output + feed_forward
    return 2 * multiply_adds


def attention_operations(config: BertConfig, tokens: int, first_token_only: bool) -> int:
    """Count the operations of all products with keys and with values, for a text of so many tokens."""
    queries = config.num_hidden_layers * tokens
    if first_token_only:
        queries += 1 - tokens
    multiply_adds = 2 * queries * tokens * config.hidden_size
    return 2 * multiply_adds


def floor_ms(
    config: BertConfig, lengths: Iterable[int], first_token_only: bool, rates: Rates
) -> float:
    """Return the milliseconds a text of these lengths needs at least, on average."""
    times = []
    for tokens in lengths:
        products = int8_operations(config, tokens, first_token_only) / rates.int8
        attention = attention_operations(config, tokens, first_token_only) / rates.float32
        times.append(1000 * (products + attention))
    return float(np.mean(times))


def measure_rates() -> Rates:
    """Measure one large product of each kind on one thread; the shortest of many counts."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 256, (ROWS, INNER)).astype(np.uint8)
    weights = generator.integers(-64, 64, (INNER, COLUMNS)).astype(np.int8)
    session = product_session(weights)
    float_rows = torch.from_numpy(rows.astype(np.float32))
    float_weights = torch.from_numpy(weights.astype(np.float32))
    return Rates(
        int8=rate(lambda: session.run(None, {"rows": rows})),
        float32=rate(lambda: torch.mm(float_rows, float_weights)),
    )


def product_session(weights: np.ndarray) -> onnxruntime.InferenceSession:
    """Return a session of one product of 8-bit rows with these weights."""
    node = helper.make_node("MatMulInteger", ["rows", "weights"], ["product"])
    rows = helper.make_tensor_value_info("rows", TensorProto.UINT8, [None, INNER])
    product = helper.make_tensor_value_info("product", TensorProto.INT32, [None, COLUMNS])
    constants = [numpy_helper.from_array(weights, "weights")]
    graph = helper.make_graph([node], "product", [rows], [product], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), one_thread())


def rate(multiply: Callable[[], object]) -> float:
    """Return the operations a second of a product of `ROWS` x `INNER` with `INNER` x `COLUMNS`."""
    multiply()
    shortest = float("inf")
    for _ in range(REPETITIONS):
        start = time.process_time()
        multiply()
        shortest = min(shortest, time.process_time() - start)
    return 2 * ROWS * INNER * COLUMNS / shortest
