"""Export through Optimum, which has an ONNX config for each encoder type that it knows."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from optimum.exporters.onnx import export
from optimum.exporters.tasks import TasksManager
from transformers import PretrainedConfig, PreTrainedModel

from trainer_ext.errors import UserError, describe_error
from trainer_ext.export.exported import encoder_config, has_distances, has_token_head
from trainer_ext.export.optimum_registration import TASK, Axes

DISTANCE = {"ood_distance": {0: "batch_size"}}
TOKEN_LOGITS = {"token_logits": {0: "batch_size", 1: "sequence_length"}}


def export_with_optimum(model: PreTrainedModel, config: PretrainedConfig, path: Path) -> None:
    """Write an ONNX file.

    Args:
        model: in evaluation mode.
        config: that lies beside the file; it sizes Optimum's example inputs.
        path: of the file.

    Raises:
        UserError: for an encoder that Optimum does not know, or fails to export.
    """
    onnx_config = onnx_config_class(model, config.pipeline["input_names"])(config, task=TASK)
    with warnings.catch_warnings():
        # Python values that the trace makes constants. If one mattered, the gate's rows of other lengths would show it.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding")  # a slice that is left as it is
        # An LSTM starts from zeros, which are made for the batch at hand; the gate runs batches of other sizes.
        warnings.filterwarnings("ignore", "Exporting a model to ONNX with a batch_size")
        try:
            export(model, onnx_config, path)
        except Exception as error:  # each encoder that cannot be traced raises its own type
            model_type = encoder_config(model).model_type
            raise UserError(
                f"Optimum fails to export this {model_type} encoder: {describe_error(error)}"
            ) from error


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
    knows_distance = has_distances(model)

    class HeadOnnxConfig(encoder_onnx_config):
        @property
        def inputs(self) -> Axes:
            return {name: axes for name, axes in super().inputs.items() if name in input_names}

        @property
        def outputs(self) -> Axes:
            outputs: Axes = dict(super().outputs)
            if tags_tokens:
                outputs.update(TOKEN_LOGITS)
            if knows_distance:
                outputs.update(DISTANCE)
            return outputs

    return HeadOnnxConfig
