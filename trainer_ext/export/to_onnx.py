"""A checkpoint to ONNX through Optimum, with dynamic batch and length."""

import shutil
import warnings
from pathlib import Path

import torch
from optimum.exporters.onnx import export
from optimum.exporters.tasks import TasksManager

from trainer_ext.errors import UserError, describe_error
from trainer_ext.export.publish import TOKENIZER_FILES
from trainer_ext.modeling import EncoderWithHead

TASK = "text-classification"  # its inputs and its output `logits` fit every head of ours; a token head adds another

# What is added to the encoder's config; by some of it transformers' pipeline takes the function of the logits.
OURS = (
    "id2label",
    "label2id",
    "problem_type",
    "function_to_apply",
    "pipeline",
    "head_shape",
    "token_classes",
)


def export_onnx(model: EncoderWithHead, folder: Path) -> Path:
    """Write model.onnx and config.json into `folder`; returns the path of model.onnx.

    The config is the *encoder's*, with our head's labels and pipeline added: plain transformers and Optimum read it.

    Raises:
        UserError: for an encoder that Optimum cannot export.
    """
    model_type = model.config.encoder.model_type
    try:
        base = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=model_type, task=TASK, library_name="transformers"
        )
    except (KeyError, ValueError) as error:
        raise UserError(
            f"Optimum exports no {model_type} encoders: {describe_error(error)}"
        ) from error
    input_names = model.config.pipeline["input_names"]

    class HeadOnnxConfig(base.func):
        """The encoder's ONNX config with the inputs that our tokenizer makes and the outputs that our heads have."""

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {name: axes for name, axes in super().inputs.items() if name in input_names}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            tokens = (
                {"token_logits": {0: "batch_size", 1: "sequence_length"}}
                if model.token_head is not None
                else {}
            )
            return {**super().outputs, **tokens}

    config = exported_config(model)
    with warnings.catch_warnings():  # constants in the trace, which the gate would show to matter
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding")  # a slice that stays as it is
        export(model.eval(), HeadOnnxConfig(config, task=TASK), folder / "model.onnx")
    config.save_pretrained(folder)
    return folder / "model.onnx"


def copy_tokenizer(checkpoint: Path, folder: Path) -> None:
    """The checkpoint's tokenizer files, byte for byte.

    Loaded and saved again some become other tokenizers; and loading one would offer to run code that the folder brings.
    """
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)


def exported_config(model: EncoderWithHead):
    """The encoder's config with labels, pipeline and head of ours."""
    encoder = model.config.encoder
    config = type(encoder).from_dict(encoder.to_dict())
    if hasattr(config, "auto_map"):  # what is exported needs no code
        del config.auto_map
    for name in OURS:
        if hasattr(model.config, name):
            setattr(config, name, getattr(model.config, name))
    return config
