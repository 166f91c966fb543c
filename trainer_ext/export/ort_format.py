"""model_quantized.ort: the graph as ONNX Runtime optimises it for this CPU, and what a reduced build needs to run it.

Loading an ONNX file optimises it each time; a file in ORT format is optimised already. It is not portable: another CPU
or another version of ONNX Runtime takes the ONNX file, which stays.
"""

import logging
from pathlib import Path

import onnxruntime

from trainer_ext.export.gate import Variant
from trainer_ext.export.quantise import only_errors_logged
from trainer_ext.inference.onnx_session import is_marked_exact, session_options
from trainer_ext.inference.providers import open_session

# As onnxruntime's own converter calls them; `--include_ops_by_config` of its build takes either.
OPERATORS = "required_operators.config"
OPERATORS_AND_TYPES = "required_operators_and_types.config"


def save_ort_format(source: Path) -> Path:
    """Write the optimised graph beside `source`, with the suffix `.ort`, and return its path.

    The session has the options of every session here, so that the same kernels are chosen.
    """
    target = source.with_suffix(".ort")
    options = session_options(1, is_exact=is_marked_exact(source))
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    open_session(source, options, "cpu")
    return target


def save_operators(model: Path) -> list[str]:
    """Write which operators a model in ORT format needs, with and without their types, for a reduced build.

    Returns:
        The operators, as `domain;version;names`.
    """
    lines: list[str] = []
    for name, with_types in ((OPERATORS, False), (OPERATORS_AND_TYPES, True)):
        config = model.parent / name
        with only_errors_logged():
            # Late: it puts a folder of its own on the module path, and a handler on the root logger.
            from onnxruntime.tools.ort_format_model import create_config_from_models

            logging.getLogger("ort_format_model.utils").setLevel(logging.ERROR)
            create_config_from_models([model], config, with_types)
        # Its head has the path of a scratch folder.
        text = config.read_text(encoding="utf-8").replace(str(model), model.name)
        config.write_text(text, encoding="utf-8")
        if not with_types:
            lines = [line for line in text.splitlines() if not line.startswith("#")]
    return lines


def judge_ort_format(variant: Variant, source: Variant, difference: float) -> None:
    """Reject the variant unless it answers to the bit as the file it was made of.

    Args:
        variant: in ORT format.
        source: what it was made of.
        difference: the largest between their logits.
    """
    variant.dynamic_int8 = source.dynamic_int8
    variant.setting = f"onnxruntime {onnxruntime.__version__}"
    if not source.good:
        variant.reject(f"made of {source.name}, which is not good")
    if difference != 0:
        variant.reject(f"logits differ from {source.name} by up to {difference:.2g}")
