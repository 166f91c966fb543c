"""A checkpoint to ONNX through Optimum, with dynamic batch and length."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from optimum.exporters.onnx import export
from optimum.exporters.tasks import TasksManager
from transformers import PretrainedConfig

from trainer_ext.errors import UserError, describe_error
from trainer_ext.export.publish import TOKENIZER_FILES
from trainer_ext.modeling import EncoderWithHead

# Its inputs and its output `logits` fit every head of ours; a token head adds an output.
TASK = "text-classification"
TOKEN_LOGITS = {"token_logits": {0: "batch_size", 1: "sequence_length"}}
# What is added to the encoder's config. transformers' text-classification pipeline takes its labels, and the function
# it applies to the logits, from some of these.
ADDED_TO_CONFIG = (
    "id2label",
    "label2id",
    "problem_type",
    "function_to_apply",
    "pipeline",
    "head_shape",
    "token_classes",
)

Axes = dict[str, dict[int, str]]


def export_onnx(model: EncoderWithHead, folder: Path) -> Path:
    """Write model.onnx and config.json into `folder`; return the path of model.onnx.

    The config is the *encoder's*, with our head's labels and pipeline added: plain transformers and Optimum read it.

    Raises:
        UserError: for an encoder that Optimum cannot export.
    """
    config = exported_config(model)
    onnx_config = onnx_config_class(model)(config, task=TASK)
    model.train(False)
    with warnings.catch_warnings():
        # Python values that the trace makes constants. If one mattered, the gate's rows of other lengths would show it.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding")  # a slice that is left as it is
        export(model, onnx_config, folder / "model.onnx")
    config.save_pretrained(folder)
    return folder / "model.onnx"


def onnx_config_class(model: EncoderWithHead) -> type[Any]:
    """Return the encoder's ONNX config with the inputs of our tokenizer and the outputs of our heads.

    Raises:
        UserError: for an encoder that Optimum does not know.
    """
    model_type = model.config.encoder.model_type
    try:
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=model_type, task=TASK, library_name="transformers"
        )
    except (KeyError, ValueError) as error:
        raise UserError(
            f"Optimum does not export {model_type} encoders: {describe_error(error)}"
        ) from error
    encoder_config: Any = constructor.func
    input_names = model.config.pipeline["input_names"]
    has_token_head = model.token_head is not None

    class HeadOnnxConfig(encoder_config):
        @property
        def inputs(self) -> Axes:
            return {name: axes for name, axes in super().inputs.items() if name in input_names}

        @property
        def outputs(self) -> Axes:
            outputs: Axes = dict(super().outputs)
            if has_token_head:
                outputs.update(TOKEN_LOGITS)
            return outputs

    return HeadOnnxConfig


def exported_config(model: EncoderWithHead) -> PretrainedConfig:
    """Return the encoder's config with our labels, pipeline and head added."""
    encoder = model.config.encoder
    config: PretrainedConfig = type(encoder).from_dict(encoder.to_dict())
    if hasattr(config, "auto_map"):
        del config.auto_map  # an ONNX file needs no code of the encoder's repository
    for name in ADDED_TO_CONFIG:
        if hasattr(model.config, name):
            setattr(config, name, getattr(model.config, name))
    return config


def copy_tokenizer(checkpoint: Path, folder: Path) -> None:
    """Copy the checkpoint's tokenizer files, byte for byte.

    Some tokenizers are not the same when loaded and saved again; and loading one would offer to run code of the folder.
    """
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
