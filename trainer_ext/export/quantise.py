"""Dynamic INT8: per-channel weights, and only products with constant weights."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

QUANTISED_FILE = "model_quantized.onnx"


@dataclass(frozen=True)
class Int8Setting:
    """One way to quantise.

    Attributes:
        name: for the report.
        quantise_embeddings: also store embedding tables in 8 bits, which makes the file smaller, not faster.
        fp32_nodes: names of MatMul nodes of the float model that are not quantised.
        keep_down_projections_fp32: leave MatMuls whose output is narrower than their input (the second of a
            feed-forward pair, heads) in FP32. Their inputs have outliers, which take up most of the 256 levels of a
            tensor. Source: Bondarenko et al., Understanding and Overcoming the Challenges of Efficient Transformer
            Quantization (arXiv:2109.12948), section 3.
    """

    name: str
    quantise_embeddings: bool = True
    fp32_nodes: frozenset[str] = frozenset()
    keep_down_projections_fp32: bool = False

    @property
    def operators(self) -> list[str]:
        """The ONNX operators that are quantised."""
        if self.quantise_embeddings:
            return ["MatMul", "Gather"]
        return ["MatMul"]


# Smallest file first: a pretrained encoder's embeddings (Gather) are most of it. The gate goes on to the next setting
# if accuracy drops too far, and every step keeps more in FP32.
SETTINGS = (
    Int8Setting("INT8 embeddings and MatMuls"),
    Int8Setting(
        "INT8 embeddings and MatMuls, FP32 down-projections", keep_down_projections_fp32=True
    ),
    Int8Setting("INT8 MatMuls, FP32 embeddings", quantise_embeddings=False),
    Int8Setting(
        "INT8 MatMuls, FP32 embeddings and down-projections",
        quantise_embeddings=False,
        keep_down_projections_fp32=True,
    ),
)


def quantise(model_path: Path, folder: Path, setting: Int8Setting) -> Path:
    """Write `model_quantized.onnx` into `folder` and return its path.

    Signed 8-bit weights with a scale per output channel; activations are scaled at run time.
    """
    target = folder / QUANTISED_FILE
    target.unlink(missing_ok=True)
    fp32_nodes = fp32_matmuls(model_path, setting)
    with only_errors_logged():
        if has_optimum():
            quantise_with_optimum(model_path, target, setting.operators, fp32_nodes)
        else:
            quantise_with_onnxruntime(model_path, target, setting.operators, fp32_nodes)
    return target


def has_optimum() -> bool:
    """Tell whether Optimum's quantiser is installed."""
    # Found before it is imported: of a package that is not there, find_spec of a module in it would raise.
    return find_spec("optimum") is not None and find_spec("optimum.onnxruntime") is not None


def quantise_with_optimum(
    model_path: Path, target: Path, operators: list[str], fp32_nodes: list[str]
) -> None:
    """Quantise through `ORTQuantizer`; `target` is the only file written."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = AutoQuantizationConfig.avx512_vnni(
        is_static=False,
        per_channel=True,
        operators_to_quantize=operators,
        nodes_to_exclude=fp32_nodes,
    )
    # Optimum names the file, and writes a config and a record of its own beside it.
    with TemporaryDirectory(dir=target.parent) as folder:
        quantizer = ORTQuantizer.from_pretrained(model_path.parent, file_name=model_path.name)
        path = quantizer.quantize(save_dir=folder, quantization_config=config)
        os.replace(path / f"{model_path.stem}_quantized.onnx", target)


def quantise_with_onnxruntime(
    model_path: Path, target: Path, operators: list[str], fp32_nodes: list[str]
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


def fp32_matmuls(model_path: Path, setting: Int8Setting) -> list[str]:
    """Return the names of the MatMul nodes that are not quantised."""
    names = set(setting.fp32_nodes)
    for name, shape in matmul_weights(model_path).items():
        if shape is None:
            # A product of two activations (attention scores): INT8 costs accuracy and, without VNNI, time.
            names.add(name)
        elif setting.keep_down_projections_fp32 and shape[0] > shape[-1]:
            names.add(name)
    return sorted(names)


def matmul_weights(model_path: Path) -> dict[str, tuple[int, ...] | None]:
    """Return the shape (inputs, outputs) of each MatMul node's constant, by the node's name; None without one."""
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
        if node.op_type == "MatMul":
            known = [constants[name] for name in node.input if name in constants]
            shapes[node.name] = known[0] if known else None
    return shapes


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
