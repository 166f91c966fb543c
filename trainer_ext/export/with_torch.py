"""Export through `torch.onnx.export(dynamo=True)`: needs no Optimum, so any version of transformers will do."""

import copy
import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir
import onnxscript  # noqa: F401  what torch's exporter is written in: missing, it is noticed here
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer_ext.errors import UserError, describe_error
from trainer_ext.export.exported import encoder_config, has_distances, has_token_head
from trainer_ext.modeling import EncoderWithHead

# Optimum's names, which Optimum's sessions and transformers.js expect.
AXES = {0: "batch_size", 1: "sequence_length"}
INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")
# Two rows: torch.export takes a dimension of 1 for a constant.
EXAMPLE_SHAPE = (2, 7)
EXAMPLE_PADDING = 3  # tokens of the second row
# Optimum's opset, so that both exporters' files are made of the same operators. From 23 on there is an `Attention`,
# which few runtimes have.
OPSET = 18
LARGEST_FILE = 2**31 - 2**20  # a protobuf has no more than 2 GiB; the graph itself needs some of it
EXTERNAL_DATA = "_data"  # added to the file's name


def export_with_torch(model: PreTrainedModel, made_inputs: Sequence[str], path: Path) -> None:
    """Write an ONNX file with dynamic batch and length.

    Args:
        model: in evaluation mode.
        made_inputs: what the tokenizer makes.
        path: of the file.

    Raises:
        UserError: for an encoder that torch fails to export.
    """
    input_names = exported_inputs(model, made_inputs)
    output_names = ["logits"]
    if has_token_head(model):
        output_names.append("token_logits")
    if has_distances(model):
        output_names.append("ood_distance")
    wrapper = TensorOutputs(with_eager_attention(model), input_names, output_names)
    axes = {"inputs": tuple(AXES for _ in input_names)}
    try:
        with quiet():
            program = torch.onnx.export(
                wrapper,
                example_inputs(input_names),
                dynamo=True,
                dynamic_shapes=axes,
                input_names=input_names,
                output_names=output_names,
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # each encoder that cannot be exported raises its own type
        model_type = encoder_config(model).model_type
        raise UserError(
            f"torch fails to export this {model_type} encoder: {describe_error(error)}"
        ) from error
    assert program is not None  # with dynamo=True
    save(program.model, path)


def exported_inputs(model: PreTrainedModel, made_inputs: Sequence[str]) -> list[str]:
    """Return the inputs that the tokenizer makes and the encoder takes."""
    taken = inspect.signature(encoder_of(model).forward).parameters
    return [name for name in INPUT_NAMES if name in made_inputs and name in taken]


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the part that transformers defines: the encoder of ours, all of a plain classifier."""
    if isinstance(model, EncoderWithHead):
        return model.encoder
    return model


def example_inputs(input_names: Sequence[str]) -> tuple[Tensor, ...]:
    """Return int64 example inputs (2, 7), the second row padded."""
    mask = torch.ones(EXAMPLE_SHAPE, dtype=torch.long)
    mask[1, -EXAMPLE_PADDING:] = 0
    examples = {
        "input_ids": torch.ones(EXAMPLE_SHAPE, dtype=torch.long),
        "attention_mask": mask,
        "token_type_ids": torch.zeros(EXAMPLE_SHAPE, dtype=torch.long),
    }
    return tuple(examples[name] for name in input_names)


class TensorOutputs(nn.Module):
    """A model whose inputs come by position and whose outputs are plain tensors, as an ONNX graph has them.

    Args:
        model: in evaluation mode.
        input_names: what the inputs are called.
        output_names: those of its outputs that are given.
    """

    def __init__(
        self, model: PreTrainedModel, input_names: Sequence[str], output_names: Sequence[str]
    ):
        super().__init__()
        self.model = model
        self.input_names = input_names
        self.output_names = output_names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of their names."""
        outputs = self.model(**dict(zip(self.input_names, inputs, strict=True)))
        return tuple(outputs[name] for name in self.output_names)


def with_eager_attention(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model, with the same weights, in which attention is written out as products and a softmax.

    The fused `scaled_dot_product_attention` exports to a quarter more nodes: it scales queries and keys apart, reads
    shapes at run time, and masks twice. The rewrites of the graph know the plain form.
    """
    encoder = encoder_of(model)
    config = copy.deepcopy(encoder.config)
    if config._attn_implementation == "eager":
        return model
    config._attn_implementation = "eager"
    arguments = inspect.signature(type(encoder).__init__).parameters
    pooler = {"add_pooling_layer": False} if "add_pooling_layer" in arguments else {}
    try:
        eager = type(encoder)(config, **pooler)
        eager.load_state_dict(encoder.state_dict(), assign=True)
    except Exception:  # an encoder that is code of its own, and has the fused form only
        return model
    eager.train(False)
    if encoder is model:
        return eager
    # A shallow copy shares the heads, and leaves the caller's model as it is.
    whole = copy.copy(model)
    whole._modules = {**model._modules, "encoder": eager}
    return whole


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's progress: advice to its developers, and constants that it leaves as they are."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def save(model: Any, path: Path) -> None:
    """Write the file; the weights of a model beyond 2 GB go into a second one, as Optimum does it."""
    # Each node has the lines of source that it comes from, with the folders of this machine.
    ClearMetadataAndDocStringPass()(model)
    weights = 0
    for constant in model.graph.initializers.values():
        weights += constant.const_value.nbytes
        # The shape is said by the tensor itself; said twice, it is in the way when a quantiser turns a matrix round.
        constant.shape = None
        constant.type = None
    if weights < LARGEST_FILE:
        onnx_ir.save(model, path)
    else:
        onnx_ir.save(model, path, external_data=path.name + EXTERNAL_DATA)
