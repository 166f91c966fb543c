"""Tell Optimum about our model classes, so that its own tools export our checkpoints.

`import trainer_ext` imports this module as soon as Optimum's exporters are there. From then on
`ORTModelForSequenceClassification.from_pretrained(CHECKPOINT, export=True)` works as for a model of transformers.
"""

from typing import Any

from optimum.exporters.onnx.config import TextEncoderOnnxConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import NormalizedTextConfig

from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.scratch import STUDENTS

# Its inputs and its output `logits` fit every head of ours; a token head adds an output.
TASK = "text-classification"
Axes = dict[str, dict[int, str]]


class EncoderWithHeadOnnxConfig(TextEncoderOnnxConfig):
    """Inputs, outputs and example sizes of an encoder with a head."""

    # Optimum reads the sizes of its example inputs by these names, which lie one level deeper here.
    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig.with_args(
        vocab_size="encoder.vocab_size",
        hidden_size="encoder.hidden_size",
        num_layers="encoder.num_hidden_layers",
        num_attention_heads="encoder.num_attention_heads",
    )

    @property
    def inputs(self) -> Axes:
        """Return what the tokenizer makes, with its dynamic axes."""
        axes = {0: "batch_size", 1: "sequence_length"}
        return dict.fromkeys(self._config.pipeline["input_names"], axes)


class StudentOnnxConfig(TextEncoderOnnxConfig):
    """Inputs, outputs and example sizes of an encoder of ours that is no transformer."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig

    @property
    def inputs(self) -> Axes:
        """Return the encoder's inputs, with their dynamic axes."""
        axes = {0: "batch_size", 1: "sequence_length"}
        return {"input_ids": axes, "attention_mask": axes}


def register() -> None:
    """Add our model types to those that Optimum exports."""
    add = TasksManager.create_register("onnx", overwrite_existing=True)
    add(EncoderWithHeadConfig.model_type, TASK)(EncoderWithHeadOnnxConfig)
    for student in STUDENTS.values():
        add(student.model_type, TASK)(StudentOnnxConfig)
    recognise_our_class()


def recognise_our_class() -> None:
    """Let Optimum take our class for one of transformers'.

    It goes by the name of the module that a class is defined in, and knows no other way.
    """
    by_module_name = TasksManager._infer_library_from_model_or_model_class

    def infer(model: Any = None, model_class: Any = None) -> str:
        found = model_class or type(model)
        if issubclass(found, EncoderWithHead):
            return "transformers"
        library: str = by_module_name(model=model, model_class=model_class)
        return library

    TasksManager._infer_library_from_model_or_model_class = staticmethod(infer)


register()
