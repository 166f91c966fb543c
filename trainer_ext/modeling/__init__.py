"""Encoder, pooling and head as a `PreTrainedModel`.

Importing this registers it, and the encoders that are ours, with the Auto classes.
"""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from trainer_ext.modeling.bilstm import BiLstmConfig, BiLstmEncoder
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.model import EncoderWithHead
from trainer_ext.modeling.static import StaticConfig, StaticEncoder

AutoConfig.register(EncoderWithHeadConfig.model_type, EncoderWithHeadConfig, exist_ok=True)
AutoModel.register(EncoderWithHeadConfig, EncoderWithHead, exist_ok=True)
AutoModelForSequenceClassification.register(EncoderWithHeadConfig, EncoderWithHead, exist_ok=True)

for config_class, encoder_class in ((BiLstmConfig, BiLstmEncoder), (StaticConfig, StaticEncoder)):
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, encoder_class, exist_ok=True)

__all__ = ["EncoderWithHead", "EncoderWithHeadConfig"]
