"""Dynamic INT8 through Optimum: per-channel weights, and only products with constant weights."""

import logging
from dataclasses import dataclass
from pathlib import Path

import onnx
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig


@dataclass(frozen=True)
class Int8Setting:
    """One way to quantise."""

    name: str
    operators: tuple[str, ...]


# Smallest first; the gate goes on to the next one when accuracy drops too far.
SETTINGS = (
    Int8Setting("per-channel weights, 8-bit embeddings", ("MatMul", "Gather")),
    Int8Setting("per-channel weights, float embeddings", ("MatMul",)),
)


def quantise(model_path: Path, folder: Path, setting: Int8Setting) -> Path:
    """Write `model_quantized.onnx` into `folder` and return its path.

    Signed 8-bit weights with a scale per output channel; activations are scaled at run time. Products of two
    activations (attention scores) stay in float: quantising them costs accuracy and, without VNNI, time.
    """
    logging.getLogger("root").setLevel(logging.ERROR)  # onnxruntime advises pre-processing, which Optimum's export did
    config = AutoQuantizationConfig.avx512_vnni(
        is_static=False,
        per_channel=True,
        operators_to_quantize=list(setting.operators),
        nodes_to_exclude=products_of_activations(model_path),
    )
    target = folder / "model_quantized.onnx"
    target.unlink(missing_ok=True)
    ORTQuantizer.from_pretrained(folder, file_name=model_path.name).quantize(
        save_dir=folder, quantization_config=config
    )
    (folder / "ort_config.json").unlink(missing_ok=True)
    return target


def products_of_activations(model_path: Path) -> list[str]:
    """Names of the MatMul nodes neither of whose inputs is a constant."""
    graph = onnx.load(model_path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {output for node in graph.node if node.op_type == "Constant" for output in node.output}
    return [node.name for node in graph.node if node.op_type == "MatMul" and not constants & set(node.input)]
