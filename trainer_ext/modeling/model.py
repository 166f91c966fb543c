"""Any `AutoModel` encoder with pooling and a linear head, as a `PreTrainedModel`."""

import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.distances import ClassDistances
from trainer_ext.modeling.label_attention import LabelAttention
from trainer_ext.modeling.layer_sizes import resize
from trainer_ext.modeling.own_code import model_class, save_code
from trainer_ext.modeling.pooling import MODULES, Pooling

POOLING_MODULES = {**MODULES, "label_attention": LabelAttention}


@dataclass
class TwoHeadOutput(SequenceClassifierOutput):
    """`logits` (B, *head_shape), perhaps `token_logits` (B, L, token_classes) and `ood_distance` (B, 1)."""

    token_logits: Tensor | None = None
    ood_distance: Tensor | None = None


class EncoderWithHead(PreTrainedModel):
    """encoder -> pooling -> dropout -> linear, reshaped to the task's `head_shape`.

    With `token_classes` a second head reads the token states that the pooling reads: dropout -> linear.

    The loss is not computed here: `CustomTrainer` hands the logits to its objective.

    Args:
        config: of the encoder and the heads.
        own_code: whether the encoder's class may be code of its folder.
    """

    # transformers annotates it as None.
    config_class = EncoderWithHeadConfig  # type: ignore[assignment]
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    # Of a checkpoint that is trained on: the distances were fitted to what it was.
    _keys_to_ignore_on_load_unexpected = [r"distances\..*"]  # type: ignore[assignment]
    _supports_sdpa = True

    def __init__(self, config: EncoderWithHeadConfig, own_code: bool = False):
        super().__init__(config)
        self.encoder: PreTrainedModel = AutoModel.from_config(
            config.encoder, trust_remote_code=own_code, **without_pooler(config.encoder, own_code)
        )
        if config.layer_sizes:
            resize(self.encoder, config.layer_sizes)
        self.dropout = nn.Dropout(config.head_dropout)
        self.pooling: Pooling = POOLING_MODULES.get(config.pooling, Pooling)(config)
        self.head = self.pooling.build_head(config.head_shape)
        self.token_head: nn.Linear | None = None
        if config.token_classes:
            self.token_head = nn.Linear(self.pooling.width, config.token_classes)
        self.distances: nn.Module | None = None
        if config.ood_classes:
            self.distances = ClassDistances(config.ood_classes, self.pooling.width)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise heads and pooling; the encoder initialises itself."""
        if module in (self.head, self.token_head, *self.pooling.children()):
            std = getattr(self.config.encoder, "initializer_range", 0.02)
            for name, parameter in module.named_parameters(recurse=False):
                if name == "bias":
                    nn.init.zeros_(parameter)
                else:
                    nn.init.normal_(parameter, std=std)

    def save_pretrained(  # type: ignore[override]  # its other arguments are passed on
        self,
        save_directory: str | os.PathLike[str],
        **kwargs: Any,
    ) -> None:
        """Save the weights and, if the encoder is code of its own, its files."""
        super().save_pretrained(save_directory, **kwargs)
        save_code(self.encoder, Path(save_directory))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool = False,
    ) -> TwoHeadOutput:
        """Compute the logits of a batch.

        While training with `multi_sample_dropout` K there are K B rows: the batch K times, each with another dropout
        mask before the head (Inoue, Multi-Sample Dropout, arXiv:1905.09788, section 2).

        Args:
            input_ids, attention_mask, token_type_ids: (B, L); without a mask every token counts, and token types are
                left out if the encoder does not take them.
            return_dict: accepted because transformers passes it; the output is always a TwoHeadOutput.
            output_hidden_states: whether to return the encoder's embeddings and the states after each layer, too.

        Returns:
            Logits (B, *head_shape), of a token head (B, L, token_classes), and with class means distances (B, 1).
        """
        states, layers = self.token_states(
            input_ids, attention_mask, token_type_ids, output_hidden_states
        )
        vector = self.pooling(states, attention_mask)
        distance = None if self.distances is None else self.distances(vector)
        samples = self.config.multi_sample_dropout if self.training else 1
        if samples > 1:
            vector = vector.repeat(samples, *[1] * (vector.dim() - 1))
        logits = self._to_label_scale(self.head(self.dropout(vector)))
        token_logits = None
        if self.token_head is not None:
            if samples > 1:
                states = states.repeat(samples, 1, 1)
            token_logits = self.token_head(self.dropout(states))
        logits = logits.view(-1, *self.config.head_shape)
        # transformers annotates FloatTensor, which no operation is declared to return.
        return TwoHeadOutput(
            logits=logits,  # type: ignore[arg-type]
            token_logits=token_logits,
            ood_distance=distance,
            hidden_states=layers if output_hidden_states else None,  # type: ignore[arg-type]
        )

    def token_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the states (B, L, width) that pooling and token head read, and those that they are made of.

        The last of these, (B, L, H), are the last layer's.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        # Tokenizers may make token types that the encoder (DistilBERT) does not take.
        encoder_arguments = inspect.signature(self.encoder.forward).parameters
        if token_type_ids is not None and "token_type_ids" in encoder_arguments:
            inputs["token_type_ids"] = token_type_ids
        all_layers = self.pooling.uses_layers or output_hidden_states
        outputs = self.encoder(**inputs, output_hidden_states=all_layers, return_dict=True)
        layers = outputs.hidden_states if all_layers else (outputs.last_hidden_state,)
        return self.pooling.states(layers), layers

    def _to_label_scale(self, logits: Tensor) -> Tensor:
        """Scale a regression head's outputs to the labels' mean and standard deviation."""
        if self.config.logit_scale is None:
            return logits
        logits = logits.float()  # bfloat16 would round a score of 3 to steps of 0.016
        scale = logits.new_tensor(self.config.logit_scale)
        mean = logits.new_tensor(self.config.logit_mean)
        return logits * scale + mean


def without_pooler(encoder: PretrainedConfig, own_code: bool = False) -> dict[str, bool]:
    """Return `{"add_pooling_layer": False}` for encoders that would build BERT's pooler; our heads do not read it."""
    arguments = inspect.signature(model_class(encoder, own_code).__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in arguments else {}


def from_pretrained_encoder(
    name: str,
    config: EncoderWithHeadConfig,
    own_code: bool = False,
) -> EncoderWithHead:
    """Build a model with a fresh head whose encoder's weights come from `name` (hub name or folder)."""
    model = EncoderWithHead(config, own_code)
    model.encoder = AutoModel.from_pretrained(
        name,
        config=config.encoder,
        use_safetensors=None,
        dtype=torch.float32,
        trust_remote_code=own_code,
        **without_pooler(config.encoder, own_code),
    )
    return model
