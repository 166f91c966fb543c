"""Signed 8-bit weights whose products are exact on every CPU.

x86 CPUs without VNNI multiply unsigned activations with signed weights by `vpmaddubsw`. It adds the products of two
neighbouring inputs in 16 bits and cuts off what does not fit, so that the same file answers otherwise there than on a
CPU with VNNI. Weights are *pair-safe* if that cannot happen whatever the activations are, and then the fast
instruction is exact.

Seven-bit weights are pair-safe, too, at four times the squared error. Here the scale of each output channel may use
all 8 bits, and only the few pairs that are too large together give way: 1.5 to 1.7 times the error of plain 8 bits.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

# 255 is the largest activation: 255 * 128 = 32640 fits into 16 bits with a sign, 255 * 129 does not.
PAIR_LIMIT = 128
# How many steps the largest weight of a channel may take, from 7 bits (where no pair is too large) to 8.
STEPS = tuple(range(64, 128, 3))
# Other operators than MatMulInteger that multiply 8-bit weights.
OTHER_PRODUCTS = (
    "ConvInteger",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "QAttention",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
)
# Channels that are worked on together: few enough that they stay in the cache.
BLOCK = 64


def is_pair_safe(weights: np.ndarray) -> bool:
    """Tell whether no sum of two products leaves 16 bits.

    Args:
        weights: int8 (..., inputs, outputs). Inputs 0 and 1 are a pair, as are 2 and 3; an odd last one is alone.
    """
    first, second = split_pairs(weights.astype(np.int16))
    # An activation of 0 leaves a weight out, so weights of different signs are never worse than the larger one alone.
    largest = np.maximum(first, 0) + np.maximum(second, 0)
    smallest = np.minimum(first, 0) + np.minimum(second, 0)
    return bool((largest <= PAIR_LIMIT).all() and (smallest >= -PAIR_LIMIT).all())


def has_exact_products(model: onnx.ModelProto) -> bool:
    """Tell whether all 8-bit products of a model are the same on CPUs with and without VNNI.

    A product that is not understood counts as one that is not.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {}
    for node in model.graph.node:
        for output in node.output:
            makers[output] = node.op_type
    for node in model.graph.node:
        if node.op_type in OTHER_PRODUCTS:
            return False
        if node.op_type != "MatMulInteger":
            continue
        name = node.input[1]
        if name in tensors:
            weights = numpy_helper.to_array(tensors[name])
            # The kernel for unsigned weights adds in 32 bits.
            if weights.dtype == np.int8 and not is_pair_safe(weights):
                return False
        elif makers.get(name) != "DynamicQuantizeLinear":  # whose output is unsigned
            return False
    return True


def make_pair_safe(
    model: onnx.ModelProto,
    quantised: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> list[str]:
    """Replace the weights and scales that onnxruntime's quantiser made, in place.

    Args:
        model: as quantised.
        quantised: pair-safe weights and scales, by the names of the float weights.

    Returns:
        The names of the weights that were replaced.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    replaced = []
    for name, (weights, scales) in quantised.items():
        # The quantiser's names. Weights that the setting keeps in FP32 have none.
        old_weights = tensors.get(f"{name}_quantized")
        old_scales = tensors.get(f"{name}_scale")
        if old_weights is None or old_scales is None:
            continue
        is_same = tuple(old_weights.dims) == weights.shape
        if is_same and tuple(old_scales.dims) == scales.shape:
            old_weights.CopyFrom(numpy_helper.from_array(weights, old_weights.name))
            old_scales.CopyFrom(numpy_helper.from_array(scales, old_scales.name))
            replaced.append(name)
    return replaced


def quantise_pairs(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise to pair-safe weights with the scale of each channel that leaves the least squared error.

    Args:
        weights: float (..., inputs, outputs).

    Returns:
        int8 weights of the same shape, and float32 scales (outputs,).
    """
    # Of a stack of matrices, each has pairs of its own.
    stack = weights.reshape(-1, *weights.shape[-2:]).astype(np.float32)
    matrices, inputs, outputs = stack.shape
    largest = np.abs(stack).max(axis=(0, 1))
    # A channel of zeros has no scale; any will do.
    largest[largest == 0] = 1
    quantised = np.empty(stack.shape, np.int8)
    scales = np.empty(outputs, np.float32)
    for start in range(0, outputs, BLOCK):
        block = slice(start, start + BLOCK)
        # In units of the largest weight, so that squares of huge or tiny weights stay finite.
        pairs = np.stack(split_pairs(stack[:, :, block] / largest[block]))
        steps = best_steps(pairs)
        rounded = round_pairs(pairs * steps)
        quantised[:, :, block] = join_pairs(rounded, inputs)
        scales[block] = largest[block] / steps
    return quantised.reshape(weights.shape), scales


def best_steps(pairs: np.ndarray) -> np.ndarray:
    """Return for each channel the member of `STEPS` that leaves the least squared error.

    Args:
        pairs: float (2, matrices, pairs, channels), at most 1 in size.
    """
    best = np.full(pairs.shape[-1], STEPS[0])
    least = np.full(pairs.shape[-1], np.inf)
    for steps in STEPS:
        difference = round_pairs(pairs * steps) / steps - pairs
        error = (difference**2).sum(axis=(0, 1, 2))
        best[error < least] = steps
        least = np.minimum(error, least)
    return best


def round_pairs(scaled: np.ndarray) -> np.ndarray:
    """Return the nearest pair-safe integers.

    A pair that is too large is moved to the nearest point whose sum is the limit. Both give way alike, as the shortest
    way to the line x + y = 128 is along its normal (1, 1).

    Args:
        scaled: float (2, ...), the first and second weight of each pair, at most 127 in size.
    """
    rounded: np.ndarray = np.rint(scaled)
    excess = np.abs(rounded.sum(axis=0)) > PAIR_LIMIT
    first, second = scaled[:, excess]
    limit = np.copysign(PAIR_LIMIT, first + second)
    first = np.rint((limit + first - second) / 2)
    rounded[:, excess] = np.stack([first, limit - first])
    return rounded


def split_pairs(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the second of each pair, (..., pairs, outputs) of (..., inputs, outputs)."""
    first = weights[..., 0::2, :]
    second = np.zeros_like(first)
    second[..., : weights.shape[-2] // 2, :] = weights[..., 1::2, :]
    return first, second


def join_pairs(pairs: np.ndarray, inputs: int) -> np.ndarray:
    """Return (matrices, inputs, outputs) of (2, matrices, pairs, outputs): the opposite of `split_pairs`."""
    matrices, count, outputs = pairs.shape[1:]
    joined = np.empty((matrices, 2 * count, outputs), pairs.dtype)
    joined[:, 0::2] = pairs[0]
    joined[:, 1::2] = pairs[1]
    return joined[:, :inputs]
