"""A checkpoint to ONNX through Optimum, with dynamic batch and length."""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from optimum.exporters.onnx import export
from optimum.exporters.tasks import TasksManager
from transformers import PreTrainedModel

from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.errors import UserError, describe_error
from trainer_ext.export.exported import encoder_config, exported_config, has_token_head
from trainer_ext.export.publish import TOKENIZER_FILES
from trainer_ext.modeling.plain import convert_tokenizer

# Its inputs and its output `logits` fit every head of ours; a token head adds an output.
TASK = "text-classification"
TOKEN_LOGITS = {"token_logits": {0: "batch_size", 1: "sequence_length"}}

Axes = dict[str, dict[int, str]]


def export_onnx(model: PreTrainedModel, folder: Path, pipeline: Pipeline | None = None) -> Path:
    """Write model.onnx and config.json into `folder`; return the path of model.onnx.

    The config is the *encoder's*, with our head's labels and pipeline added: plain transformers and Optimum read it.

    Args:
        model: of a checkpoint of ours, or a plain classifier.
        folder: where the files go.
        pipeline: of a plain classifier, which does not bring one.

    Raises:
        UserError: for an encoder that Optimum cannot export.
    """
    config = exported_config(model, pipeline)
    input_names = config.pipeline["input_names"]
    onnx_config = onnx_config_class(model, input_names)(config, task=TASK)
    model.train(False)
    with warnings.catch_warnings():
        # Python values that the trace makes constants. If one mattered, the gate's rows of other lengths would show it.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding")  # a slice that is left as it is
        export(model, onnx_config, folder / "model.onnx")
    config.save_pretrained(folder)
    return folder / "model.onnx"


def onnx_config_class(model: PreTrainedModel, input_names: Sequence[str]) -> type[Any]:
    """Return the encoder's ONNX config with the inputs of our tokenizer and the outputs of our heads.

    Raises:
        UserError: for an encoder that Optimum does not know.
    """
    model_type = encoder_config(model).model_type
    try:
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=model_type, task=TASK, library_name="transformers"
        )
    except (KeyError, ValueError) as error:
        raise UserError(
            f"Optimum does not export {model_type} encoders: {describe_error(error)}"
        ) from error
    encoder_onnx_config: Any = constructor.func
    tags_tokens = has_token_head(model)

    class HeadOnnxConfig(encoder_onnx_config):
        @property
        def inputs(self) -> Axes:
            return {name: axes for name, axes in super().inputs.items() if name in input_names}

        @property
        def outputs(self) -> Axes:
            outputs: Axes = dict(super().outputs)
            if tags_tokens:
                outputs.update(TOKEN_LOGITS)
            return outputs

    return HeadOnnxConfig


def copy_tokenizer(checkpoint: Path, folder: Path) -> None:
    """Copy the checkpoint's tokenizer files, byte for byte.

    Some tokenizers are not the same when loaded and saved again; and loading one would offer to run code of the folder.
    """
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    # A plain checkpoint may have its vocabulary in an older form only.
    if not (folder / "tokenizer.json").is_file():
        convert_tokenizer(checkpoint).save(str(folder / "tokenizer.json"))
