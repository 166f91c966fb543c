"""Encoder, pooling and head as a `PreTrainedModel`; importing this registers it with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.model import EncoderWithHead

AutoConfig.register(EncoderWithHeadConfig.model_type, EncoderWithHeadConfig, exist_ok=True)
AutoModel.register(EncoderWithHeadConfig, EncoderWithHead, exist_ok=True)
AutoModelForSequenceClassification.register(EncoderWithHeadConfig, EncoderWithHead, exist_ok=True)

__all__ = ["EncoderWithHead", "EncoderWithHeadConfig"]
