"""Dynamic INT8 through Optimum: per-channel weights, and only products with constant weights."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig


@dataclass(frozen=True)
class Int8Setting:
    """One way to quantise.

    Attributes:
        name: for the report.
        operators: ONNX operators that are quantised.
        keep_down_projections_fp32: leave MatMuls whose output is narrower than their input (the second of a
            feed-forward pair, heads) in FP32. Their inputs have outliers, which take up most of the 256 levels of a
            tensor. Source: Bondarenko et al., Understanding and Overcoming the Challenges of Efficient Transformer
            Quantization (arXiv:2109.12948), section 3.
    """

    name: str
    operators: tuple[str, ...]
    keep_down_projections_fp32: bool = False


# Smallest file first: a pretrained encoder's embeddings (Gather) are most of it. The gate goes on to the next setting
# if accuracy drops too far, and every step keeps more in FP32.
SETTINGS = (
    Int8Setting("INT8 embeddings and MatMuls", ("MatMul", "Gather")),
    Int8Setting(
        "INT8 embeddings and MatMuls, FP32 down-projections",
        ("MatMul", "Gather"),
        keep_down_projections_fp32=True,
    ),
    Int8Setting("INT8 MatMuls, FP32 embeddings", ("MatMul",)),
    Int8Setting(
        "INT8 MatMuls, FP32 embeddings and down-projections",
        ("MatMul",),
        keep_down_projections_fp32=True,
    ),
)


def quantise(model_path: Path, folder: Path, setting: Int8Setting) -> Path:
    """Write `model_quantized.onnx` into `folder` and return its path.

    Signed 8-bit weights with a scale per output channel; activations are scaled at run time.
    """
    config = AutoQuantizationConfig.avx512_vnni(
        is_static=False,
        per_channel=True,
        operators_to_quantize=list(setting.operators),
        nodes_to_exclude=fp32_matmuls(model_path, setting),
    )
    target = folder / "model_quantized.onnx"
    target.unlink(missing_ok=True)
    quantizer = ORTQuantizer.from_pretrained(folder, file_name=model_path.name)
    with only_errors_logged():
        quantizer.quantize(save_dir=folder, quantization_config=config)
    # Optimum's own record: export_report.json has the setting.
    (folder / "ort_config.json").unlink(missing_ok=True)
    return target


def fp32_matmuls(model_path: Path, setting: Int8Setting) -> list[str]:
    """Return the names of the MatMul nodes that are not quantised."""
    names = []
    for name, shape in matmul_weights(model_path).items():
        if shape is None:
            # A product of two activations (attention scores): INT8 costs accuracy and, without VNNI, time.
            names.append(name)
        elif setting.keep_down_projections_fp32 and shape[0] > shape[-1]:
            names.append(name)
    return names


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
