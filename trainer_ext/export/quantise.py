"""Dynamic INT8 through Optimum: per-channel weights, and only products with constant weights."""

import logging
from dataclasses import dataclass
from pathlib import Path

import onnx
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig


@dataclass(frozen=True)
class Int8Setting:
    """One way to quantise.

    Attributes:
        operators: of ONNX.
        narrowing_in_float: whether products that narrow (the second of a feed-forward pair, heads) stay in float. What
            goes into them has a few large values, which take most of the 256 steps of a tensor. Source: Bondarenko et
            al., Understanding and Overcoming the Challenges of Efficient Transformer Quantization (arXiv:2109.12948).
    """

    name: str
    operators: tuple[str, ...]
    narrowing_in_float: bool = False


# Smallest first (of a pretrained encoder, whose embeddings are large); the gate goes on to the next one when accuracy
# drops too far.
SETTINGS = (
    Int8Setting("8-bit embeddings and products", ("MatMul", "Gather")),
    Int8Setting(
        "8-bit embeddings, narrowing products in float",
        ("MatMul", "Gather"),
        narrowing_in_float=True,
    ),
    Int8Setting("float embeddings, 8-bit products", ("MatMul",)),
    Int8Setting(
        "float embeddings, narrowing products in float", ("MatMul",), narrowing_in_float=True
    ),
)


def quantise(model_path: Path, folder: Path, setting: Int8Setting) -> Path:
    """Write `model_quantized.onnx` into `folder` and return its path.

    Signed 8-bit weights with a scale per output channel; activations are scaled at run time. Products of two
    activations (attention scores) stay in float: quantising them costs accuracy and, without VNNI, time.
    """
    logging.getLogger("root").setLevel(
        logging.ERROR
    )  # onnxruntime advises pre-processing, which Optimum's export did
    weights = product_weights(model_path)
    in_float = [name for name, shape in weights.items() if shape is None]
    if setting.narrowing_in_float:
        in_float += [name for name, shape in weights.items() if shape and shape[0] > shape[-1]]
    config = AutoQuantizationConfig.avx512_vnni(
        is_static=False,
        per_channel=True,
        operators_to_quantize=list(setting.operators),
        nodes_to_exclude=in_float,
    )
    target = folder / "model_quantized.onnx"
    target.unlink(missing_ok=True)
    ORTQuantizer.from_pretrained(folder, file_name=model_path.name).quantize(
        save_dir=folder, quantization_config=config
    )
    (folder / "ort_config.json").unlink(missing_ok=True)
    return target


def product_weights(model_path: Path) -> dict[str, tuple[int, ...] | None]:
    """The shape (inputs, outputs) of the constant in each MatMul node, by its name; None where there is no constant."""
    graph = onnx.load(model_path, load_external_data=False).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    constants = [node for node in graph.node if node.op_type == "Constant"]
    shapes |= {node.output[0]: tuple(node.attribute[0].t.dims) for node in constants}
    return {
        node.name: next((shapes[name] for name in node.input if name in shapes), None)
        for node in graph.node
        if node.op_type == "MatMul"
    }
