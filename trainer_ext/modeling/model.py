"""Any `AutoModel` encoder with pooling and a linear head, as a `PreTrainedModel`."""

import inspect
import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.label_attention import LabelAttention
from trainer_ext.modeling.own_code import model_class, save_code
from trainer_ext.modeling.pooling import MODULES, Pooling

POOLING_MODULES = {**MODULES, "label_attention": LabelAttention}


@dataclass
class TwoHeadOutput(SequenceClassifierOutput):
    """`logits` (B, *head_shape) and, with a token head, `token_logits` (B, L, token_classes)."""

    token_logits: Tensor | None = None


class EncoderWithHead(PreTrainedModel):
    """encoder -> pooling -> dropout -> linear, reshaped to the task's `head_shape`.

    With `token_classes` a second head reads the token states that the pooling reads: dropout -> linear.

    The loss is not computed here: `CustomTrainer` hands the logits to its objective.

    Args:
        config: of the encoder and the heads.
        own_code: whether the encoder's class may be code of its folder.
    """

    config_class = EncoderWithHeadConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: EncoderWithHeadConfig, own_code: bool = False):
        super().__init__(config)
        self.encoder = AutoModel.from_config(
            config.encoder, trust_remote_code=own_code, **without_pooler(config.encoder, own_code)
        )
        self.dropout = nn.Dropout(config.head_dropout)
        self.pooling = POOLING_MODULES.get(config.pooling, Pooling)(config)
        self.head = self.pooling.build_head(config.head_shape)
        self.token_head = (
            nn.Linear(self.pooling.width, config.token_classes) if config.token_classes else None
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise heads and pooling; the encoder initialises itself."""
        if module in (self.head, self.token_head, *self.pooling.children()):
            module.weight.data.normal_(
                mean=0.0, std=getattr(self.config.encoder, "initializer_range", 0.02)
            )
            if module.bias is not None:
                module.bias.data.zero_()

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """Also the files of an encoder that is code of its own."""
        super().save_pretrained(save_directory, **kwargs)
        save_code(self.encoder, save_directory)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> TwoHeadOutput:
        """Logits (B, *head_shape), and of a token head (B, L, token_classes), of token ids (B, L).

        While training with `multi_sample_dropout` K there are K B rows: the batch K times, each with another dropout
        mask before the head (Inoue, Multi-Sample Dropout, arXiv:1905.09788, section 2).
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if (
            token_type_ids is not None
            and "token_type_ids" in inspect.signature(self.encoder.forward).parameters
        ):
            inputs["token_type_ids"] = token_type_ids
        outputs = self.encoder(
            **inputs, output_hidden_states=self.pooling.uses_layers, return_dict=True
        )
        layers = outputs.hidden_states if self.pooling.uses_layers else (outputs.last_hidden_state,)
        states = self.pooling.states(layers)
        vector = self.pooling(states, attention_mask)
        samples = self.config.multi_sample_dropout if self.training else 1
        if samples > 1:
            vector = vector.repeat(samples, *[1] * (vector.dim() - 1))
            states = states.repeat(samples, 1, 1) if self.token_head is not None else states
        logits = self.head(self.dropout(vector))
        if (
            self.config.logit_scale is not None
        ):  # in float32: bfloat16 would round a score of 3 to steps of 0.016
            logits = logits.float()
            logits = logits * logits.new_tensor(self.config.logit_scale) + logits.new_tensor(
                self.config.logit_mean
            )
        token_logits = (
            self.token_head(self.dropout(states)) if self.token_head is not None else None
        )
        return TwoHeadOutput(
            logits=logits.view(-1, *self.config.head_shape), token_logits=token_logits
        )


def without_pooler(encoder: PretrainedConfig, own_code: bool = False) -> dict[str, bool]:
    """`{"add_pooling_layer": False}` for encoders that would build BERT's pooler, which no head of ours reads."""
    takes_it = (
        "add_pooling_layer" in inspect.signature(model_class(encoder, own_code).__init__).parameters
    )
    return {"add_pooling_layer": False} if takes_it else {}


def from_pretrained_encoder(
    name: str, config: EncoderWithHeadConfig, own_code: bool = False
) -> EncoderWithHead:
    """A model with a fresh head whose encoder's weights come from `name` (hub name or folder)."""
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
