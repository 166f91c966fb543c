"""Tiny encoders of every family, exported once a session."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from trainer_ext.export.to_onnx import export_onnx
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
NO_TYPES = ["input_ids", "attention_mask"]
TYPES = ["input_ids", "token_type_ids", "attention_mask"]


def deberta() -> PretrainedConfig:
    return DebertaV2Config(
        **SIZES,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
        type_vocab_size=0,
    )


def distilbert() -> PretrainedConfig:
    return DistilBertConfig(
        vocab_size=90, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64
    )


FAMILIES = {
    "bert": (lambda: BertConfig(**SIZES), TYPES),
    "roberta": (lambda: RobertaConfig(**SIZES), NO_TYPES),
    "xlm-roberta": (lambda: XLMRobertaConfig(**SIZES), NO_TYPES),
    "electra": (lambda: ElectraConfig(**SIZES, embedding_size=16), TYPES),
    "distilbert": (distilbert, NO_TYPES),
    "albert": (lambda: AlbertConfig(**SIZES, embedding_size=16), TYPES),
    "mpnet": (lambda: MPNetConfig(**SIZES), NO_TYPES),
    "deberta-v2": (deberta, NO_TYPES),
    "modernbert": (lambda: ModernBertConfig(**SIZES, pad_token_id=0), NO_TYPES),
}


def build(family: str, pooling: str = "cls", token_classes: int = 0) -> EncoderWithHead:
    """A model with weights large enough that every part of it shows in the logits."""
    torch.manual_seed(0)
    make_config, input_names = FAMILIES[family]
    config = EncoderWithHeadConfig(
        encoder=make_config(),
        head_shape=[3],
        token_classes=token_classes,
        pooling=pooling,
        pipeline={"input_names": input_names},
    )
    model = EncoderWithHead(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Biases and norms start at 0 and 1, where a wrong one would not show.
            spread = 5 * parameter if parameter.ndim > 1 else 0.2 * torch.randn_like(parameter)
            parameter.add_(spread)
    return model


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A function that exports a tiny model once and returns the path of its file."""
    made: dict[tuple, Path] = {}

    def export(
        family: str, pooling: str = "cls", token_classes: int = 0, exporter: str = "auto"
    ) -> Path:
        key = (family, pooling, token_classes, exporter)
        if key not in made:
            folder = tmp_path_factory.mktemp(family)
            model = build(family, pooling, token_classes)
            made[key] = export_onnx(model, folder, exporter=exporter).path
        return made[key]

    return export
