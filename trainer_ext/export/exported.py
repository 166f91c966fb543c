"""What an exporter needs to know of a model, whether it is a checkpoint of ours or a plain one of transformers."""

from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.modeling import EncoderWithHead

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


def encoder_config(model: PreTrainedModel) -> PretrainedConfig:
    """Return the config whose `model_type` says how the encoder is exported; a plain model has no other."""
    if isinstance(model, EncoderWithHead):
        encoder: PretrainedConfig = model.config.encoder
        return encoder
    plain: PretrainedConfig = model.config
    return plain


def has_token_head(model: PreTrainedModel) -> bool:
    """Tell whether there is a second output, of each token."""
    return isinstance(model, EncoderWithHead) and model.token_head is not None


def has_distances(model: PreTrainedModel) -> bool:
    """Tell whether there is an output of how far each text is from the training rows."""
    return isinstance(model, EncoderWithHead) and model.distances is not None


def is_quantisation_aware(model: PreTrainedModel) -> bool:
    """Tell whether the model was trained with the rounding of its INT8 file."""
    return isinstance(model, EncoderWithHead) and model.config.quantisation_aware


def exported_config(model: PreTrainedModel, pipeline: Pipeline | None = None) -> PretrainedConfig:
    """Return the config that lies beside the ONNX file: plain transformers and Optimum read it, and so does prediction.

    Args:
        model: of a checkpoint.
        pipeline: of a plain model, which does not bring one.

    Returns:
        The encoder's config with labels, pipeline and head added.
    """
    encoder = encoder_config(model)
    config: PretrainedConfig = type(encoder).from_dict(encoder.to_dict())
    if hasattr(config, "auto_map"):
        del config.auto_map  # an ONNX file needs no code of the encoder's repository
    if pipeline is not None:
        add_pipeline(config, pipeline)
        return config
    for name in ADDED_TO_CONFIG:
        if hasattr(model.config, name):
            setattr(config, name, getattr(model.config, name))
    return config


def add_pipeline(config: PretrainedConfig, pipeline: Pipeline) -> None:
    """Write into a plain model's config what its labels and its task were taken for, and the pipeline made of it."""
    entry: Any = pipeline.to_dict()
    config.pipeline = entry
    task = pipeline.task
    config.problem_type = task.problem_type
    classes = task.label_space.classes
    if classes:
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: number for number, name in enumerate(classes)}
