"""model_fp16.onnx for GPUs: half the size, products in half precision, sums that need it in float32."""

from pathlib import Path

import onnx

from trainer_ext.export.gate import Variant

FILE = "model_fp16.onnx"
# Sums of squares and of exponentials: a float16 ends at 65504 and has 11 bits.
KEPT_FLOAT32 = (
    "LayerNormalization",
    "Pow",
    "ReduceMean",
    "ReduceSum",
    "Softmax",
    "Sqrt",
)
# A mask adds the lowest float32 to the scores of padding. As -10000 it masks as well (its exponential is 0 in float32),
# and a score added to it does not overflow.
LARGEST = 10_000.0
# Of the root mean square of the logit differences, in units of their spread. Measured with both of TinyBERT's shapes:
# 0.0004.
FLOAT16_TOLERANCE = 0.01


def convert_to_float16(source: Path, folder: Path) -> Path:
    """Write `model_fp16.onnx` into `folder`, with inputs and outputs as those of `source`, and return its path."""
    # Late: it loads onnxruntime's tools for all model types.
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = convert_float_to_float16(
        onnx.load(source),
        max_finite_val=LARGEST,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT_FLOAT32],
    )
    drop_repeated_casts(model)
    # The converter puts its casts at the end; the format wants a node behind those it reads from.
    OnnxModel(model).topological_sort()
    target = folder / FILE
    onnx.save(model, target)
    return target


def drop_repeated_casts(model: onnx.ModelProto) -> None:
    """Remove the second of two equal casts, which the converter makes for a value that two float32 nodes read."""
    seen = set()
    kept = []
    for node in model.graph.node:
        made = tuple(node.output)
        if node.op_type == "Cast" and made in seen:
            continue
        seen.add(made)
        kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def judge_float16(variant: Variant) -> None:
    """Reject the variant unless it is PyTorch within what half precision rounds."""
    # `not x <= limit`: NaN, which an overflow leaves, must fail.
    if not variant.rms_relative_diff <= FLOAT16_TOLERANCE:
        variant.reject(
            f"logits differ from PyTorch by {variant.rms_relative_diff:.2g} of their spread "
            f"(root mean square), more than {FLOAT16_TOLERANCE:g}"
        )
