"""Dynamic INT8: per-channel weights, and only products with constant weights, an LSTM's among them."""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import numpy_helper

from trainer_ext.export.int8_embeddings import quantise_embeddings
from trainer_ext.export.int8_weights import (
    has_exact_products,
    make_pair_safe,
    quantise_pairs,
)
from trainer_ext.inference.onnx_session import EXACT_MARK

QUANTISED_FILE = "model_quantized.onnx"
PRODUCTS = ("MatMul", "Gemm")
LSTM = "LSTM"
# The end of a constant's name, as modeling/distances.py calls it.
WHITENING = "distances.whitening"


@dataclass(frozen=True)
class Int8Setting:
    """One way to quantise.

    Attributes:
        name: for the report.
        quantise_embeddings: also store embedding tables in 8 bits, which makes the file smaller, not faster.
        fp32_nodes: names of nodes (MatMul, Gemm, LSTM, Gather) of the float model that are not quantised.
    """

    name: str
    quantise_embeddings: bool = True
    fp32_nodes: frozenset[str] = frozenset()


def quantise(
    model_path: Path,
    folder: Path,
    setting: Int8Setting,
    skip: Collection[str] = (),
) -> Path:
    """Write `model_quantized.onnx` into `folder` and return its path.

    Signed 8-bit weights with a scale per output channel; activations are scaled at run time.

    Args:
        model_path: the float model.
        folder: gets the file.
        setting: what is quantised.
        skip: names of passes (`stages.INT8_PASSES`) that are left out.
    """
    target = folder / QUANTISED_FILE
    target.unlink(missing_ok=True)
    # An LSTM is one node for all of its products; its weights are part of its operator, and are not made pair-safe.
    operators = ["MatMul", LSTM]
    # Without its pass for embeddings, onnxruntime quantises them with one scale per table.
    if setting.quantise_embeddings and "row_scales" in skip:
        operators.append("Gather")
    fp32_nodes = nodes_in_fp32(model_path, setting)
    with only_errors_logged():
        if has_optimum():
            quantise_with_optimum(model_path, target, operators, fp32_nodes)
        else:
            quantise_with_onnxruntime(model_path, target, operators, fp32_nodes)
    improve(model_path, target, setting, skip)
    return target


def improve(model_path: Path, target: Path, setting: Int8Setting, skip: Collection[str]) -> None:
    """Run our passes on the file that the quantiser made."""
    model = onnx.load(target)
    if "exact_weights" not in skip:
        version = model_path.stat().st_mtime_ns
        make_pair_safe(model, pair_safe_weights(model_path, version))
    if setting.quantise_embeddings and "row_scales" not in skip:
        quantise_embeddings(model, setting.fp32_nodes)
    if has_exact_products(model):
        model.metadata_props.add(key=EXACT_MARK, value="true")
    onnx.save(model, target)


@lru_cache(maxsize=1)
def pair_safe_weights(model_path: Path, version: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return pair-safe weights and scales of all products with a constant, by the float weights' names.

    The gate quantises one model with many settings, which differ in what stays in FP32 only: the last model's weights
    are kept.

    Args:
        model_path: the float model.
        version: a number that changes with the file.
    """
    graph = onnx.load(model_path).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    quantised = {}
    for node in graph.node:
        if node.op_type not in PRODUCTS or node.input[1] not in tensors:
            continue
        weights = numpy_helper.to_array(tensors[node.input[1]])
        if weights.ndim < 2 or weights.dtype != np.float32:
            continue
        if is_transposed(node):
            weights = weights.T
        quantised[node.input[1]] = quantise_pairs(weights)
    return quantised


def has_optimum() -> bool:
    """Tell whether Optimum's quantiser is installed."""
    # Found before it is imported: of a package that is not there, find_spec of a module in it would raise.
    return find_spec("optimum") is not None and find_spec("optimum.onnxruntime") is not None


def quantise_with_optimum(
    model_path: Path,
    target: Path,
    operators: list[str],
    fp32_nodes: list[str],
) -> None:
    """Quantise through `ORTQuantizer`; `target` is the only file written."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig
    from transformers import PretrainedConfig

    config = AutoQuantizationConfig.avx512_vnni(
        is_static=False,
        per_channel=True,
        operators_to_quantize=operators,
        nodes_to_exclude=fp32_nodes,
    )
    # Optimum looks for a config beside the model to copy it, and warns that there is none. The export writes its own.
    quantizer = ORTQuantizer(model_path, PretrainedConfig())
    # It names the file, and writes that config and a record of its own beside it.
    with TemporaryDirectory(dir=target.parent) as folder:
        path = quantizer.quantize(save_dir=folder, quantization_config=config)
        os.replace(path / f"{model_path.stem}_quantized.onnx", target)


def quantise_with_onnxruntime(
    model_path: Path,
    target: Path,
    operators: list[str],
    fp32_nodes: list[str],
) -> None:
    """Quantise as Optimum does, without it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        model_path,
        target,
        op_types_to_quantize=operators,
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=fp32_nodes,
        # As Optimum's: `fp32_nodes` has the products of two activations already.
        extra_options={"MatMulConstBOnly": False},
    )


def nodes_in_fp32(model_path: Path, setting: Int8Setting) -> list[str]:
    """Return the names of the nodes that are not quantised."""
    names = list(setting.fp32_nodes)
    for name, shape in matmul_weights(model_path).items():
        # A product of two activations (attention scores): INT8 costs accuracy and, without VNNI, time.
        if shape is None:
            names.append(name)
    # The quantiser turns Gemm into MatMul and Add before it compares names.
    return [*names, *[f"{name}_MatMul" for name in names]]


def matmul_weights(model_path: Path) -> dict[str, tuple[int, ...] | None]:
    """Return the shape (inputs, outputs) of each product's constant, by the node's name.

    None: it has none, or it is one that stays in FP32.
    """
    # The shapes are in the graph: the weights of a large model stay on the disk.
    graph = onnx.load(model_path, load_external_data=False).graph
    constants: dict[str, tuple[int, ...]] = {}
    for tensor in graph.initializer:
        constants[tensor.name] = tuple(tensor.dims)
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = tuple(node.attribute[0].t.dims)
    shapes: dict[str, tuple[int, ...] | None] = {}
    for node in graph.node:
        if node.op_type not in PRODUCTS:
            continue
        # A third input is a Gemm's bias.
        known = [constants[name] for name in node.input[:2] if name in constants]
        shape = None
        # Distances are of all of a vector, whose outliers would cost the rest its digits.
        is_distance = any(name.endswith(WHITENING) for name in node.input)
        if known and not is_distance:
            shape = known[0]
            if is_transposed(node):
                shape = shape[::-1]
        shapes[node.name] = shape
    return shapes


def lstm_nodes(model_path: Path) -> list[str]:
    """Return the names of the LSTMs."""
    graph = onnx.load(model_path, load_external_data=False).graph
    return [node.name for node in graph.node if node.op_type == LSTM]


def is_transposed(node: onnx.NodeProto) -> bool:
    """Tell whether a Gemm holds its weights as (outputs, inputs)."""
    for attribute in node.attribute:
        if attribute.name == "transB":
            return bool(attribute.i)
    return False


@contextmanager
def only_errors_logged() -> Iterator[None]:
    """Silence the root logger, on which onnxruntime advises a pre-processing that Optimum's export has done."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        # `logging.info(...)` gives a root logger without handlers one, which would print our own notes again.
        root.handlers[:] = handlers
