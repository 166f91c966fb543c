"""Pair-safe weights: literal pairs, the squared error, and that the saturating instruction cannot saturate."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer_ext.export.int8_weights import (
    OTHER_PRODUCTS,
    STEPS,
    best_steps,
    has_exact_products,
    is_pair_safe,
    quantise_pairs,
    round_pairs,
)


def saturating_product(activations, weights):
    """What x86 without VNNI computes: `vpmaddubsw` adds neighbouring products and cuts the sum off at 16 bits."""
    products = activations.astype(np.int64)[:, :, None] * weights.astype(np.int64)
    if products.shape[1] % 2:
        products = np.pad(products, ((0, 0), (0, 1), (0, 0)))
    sums = products[:, 0::2] + products[:, 1::2]
    return np.clip(sums, -32768, 32767).sum(axis=1)


def exact_product(activations, weights):
    return activations.astype(np.int64) @ weights.astype(np.int64)


@pytest.mark.parametrize(
    ("scaled", "rounded"),
    [
        ((100, 20), (100, 20)),
        ((64, 64), (64, 64)),  # the limit itself
        ((65, 64), (64, 64)),  # one half too many each: either may give way
        ((127, 127), (64, 64)),
        ((127, 101), (77, 51)),  # 228 is 100 too many: 50 each
        ((127, 1.5), (127, 1)),
        ((64.5, 63.5), (64, 64)),
        ((-127, -101), (-77, -51)),
        ((127, -127), (127, -127)),  # of opposite signs, never too large
        ((-0.4, 127), (0, 127)),
        ((0, 0), (0, 0)),
    ],
)
def test_pairs_are_moved_to_the_nearest_safe_point(scaled, rounded):
    assert tuple(round_pairs(np.array(scaled, dtype=float))) == rounded


def test_no_safe_point_is_nearer():
    """Against all integer points, for random pairs."""
    generator = np.random.default_rng(0)
    points = np.stack(np.meshgrid(np.arange(-127, 128), np.arange(-127, 128)), -1).reshape(-1, 2)
    safe = points[np.abs(np.where(np.prod(points, 1) > 0, points.sum(1), 0)) <= 128]
    for scaled in generator.uniform(-127, 127, (200, 2)):
        ours = round_pairs(scaled)
        nearest = ((safe - scaled) ** 2).sum(axis=1).min()
        assert ((ours - scaled) ** 2).sum() == pytest.approx(nearest)
        assert is_pair_safe(ours[:, None].astype(np.int8))


def test_seven_bits_never_need_a_move():
    assert STEPS[0] == 64 and STEPS[-1] == 127
    pairs = np.ones((2, 1, 5, 1))
    assert best_steps(pairs).tolist() == [64]
    # One weight a pair: no reason to give up any step.
    lonely = np.stack([np.linspace(0.011, 1, 50), np.zeros(50)])[:, None, :, None]
    assert best_steps(lonely).tolist() == [127]


@pytest.mark.parametrize("shape", [(64, 16), (33, 5), (1, 3), (2, 33, 130)])
@pytest.mark.parametrize("scale", [1e-38, 1e-3, 1.0, 1e30])
def test_quantised_weights_are_near_and_saturate_nowhere(shape, scale):
    weights = (np.random.default_rng(1).normal(size=shape) * scale).astype(np.float32)
    quantised, scales = quantise_pairs(weights)
    assert quantised.shape == shape and quantised.dtype == np.int8
    assert scales.shape == shape[-1:] and scales.dtype == np.float32
    assert is_pair_safe(quantised)
    relative = (quantised * (scales / scale) - weights / scale).astype(float)
    assert np.sqrt((relative**2).mean()) < 0.02
    matrix = quantised.reshape(-1, *shape[-2:])[0]
    largest = np.full((1, shape[-2]), 255, np.uint8)
    random = np.random.default_rng(2).choice([0, 255], (20, shape[-2])).astype(np.uint8)
    for activations in (largest, random):
        expected = exact_product(activations, matrix)
        np.testing.assert_array_equal(saturating_product(activations, matrix), expected)


def test_plain_weights_do_saturate():
    """Or the simulation would prove nothing."""
    weights = np.full((4, 1), 127, np.int8)
    activations = np.full((1, 4), 255, np.uint8)
    assert saturating_product(activations, weights).item() == 2 * 32767
    assert exact_product(activations, weights).item() == 4 * 255 * 127
    assert not is_pair_safe(weights)


def test_error_lies_between_eight_and_seven_bits():
    """Weights as networks have them: 1.75 times the squared error of plain 8 bits at most; 7 bits have four times."""
    weights = np.random.default_rng(3).normal(size=(400, 64)).astype(np.float32)

    def error(quantised, scales):
        return ((quantised * scales - weights) ** 2).sum()

    largest = np.abs(weights).max(axis=0)
    plain = error(np.rint(weights / largest * 127), largest / 127)
    seven = error(np.rint(weights / largest * 64), largest / 64)
    ours = error(*quantise_pairs(weights))
    assert plain < ours < 1.75 * plain
    assert seven > 3.5 * plain


def test_a_channel_of_zeros_stays_zero():
    weights = np.array([[0, 1], [0, -1]], np.float32)
    quantised, scales = quantise_pairs(weights)
    assert quantised[:, 0].tolist() == [0, 0]
    assert (scales > 0).all()
    np.testing.assert_allclose(quantised * scales, weights, rtol=1e-6)


def product_model(weights, operator="MatMulInteger", maker=None):
    nodes = []
    tensors = []
    if weights is not None:
        tensors.append(numpy_helper.from_array(weights, "w"))
    if maker is not None:
        nodes.append(
            helper.make_node(maker, ["v"], ["w", "s", "p"][: 3 if "Dynamic" in maker else 1])
        )
    nodes.append(helper.make_node(operator, ["a", "w"], ["y"]))
    a = helper.make_tensor_value_info("a", TensorProto.UINT8, [None, None])
    y = helper.make_tensor_value_info("y", TensorProto.INT32, [None, None])
    graph = helper.make_graph(nodes, "g", [a], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_which_models_are_exact_everywhere():
    safe = np.array([[127, -128], [1, 0]], np.int8)
    plain = np.array([[127], [2]], np.int8)
    assert has_exact_products(product_model(safe))
    assert not has_exact_products(product_model(plain))
    # Unsigned weights are added in 32 bits; so are activations, which are unsigned.
    assert has_exact_products(product_model(plain.astype(np.uint8)))
    assert has_exact_products(product_model(None, maker="DynamicQuantizeLinear"))
    # What is not known to be exact counts as inexact.
    assert not has_exact_products(product_model(None, maker="Transpose"))
    for operator in OTHER_PRODUCTS:
        assert not has_exact_products(product_model(safe, operator))


@pytest.mark.parametrize("rows", [1, 2, 5, 66])
def test_onnxruntime_computes_the_integer_product(rows):
    """On this CPU, whatever it is; `benchmarks/saturation.py` does the same on one without VNNI."""
    generator = np.random.default_rng(4)
    weights, _ = quantise_pairs(generator.normal(size=(97, 40)).astype(np.float32))
    model = product_model(weights)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for activations in (
        np.full((rows, 97), 255, np.uint8),
        generator.integers(0, 256, (rows, 97)).astype(np.uint8),
    ):
        (product,) = session.run(None, {"a": activations})
        np.testing.assert_array_equal(product, exact_product(activations, weights))
