"""`--config_overrides` on pretrained encoders and on checkpoints of this project."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, ModernBertConfig

from trainer_ext.api import fit
from trainer_ext.errors import UserError
from trainer_ext.modeling.model import EncoderWithHead
from trainer_ext.modeling.overrides import override_config
from trainer_ext.modeling.scratch import train_tokenizer

NO_DROPOUT = "hidden_dropout_prob=0,attention_probs_dropout_prob=0"


@pytest.mark.parametrize(
    "config, overrides",
    [
        (BertConfig(), NO_DROPOUT),
        (DistilBertConfig(), "dropout=0, attention_dropout=0"),
        (ModernBertConfig(), "embedding_dropout=0,mlp_dropout=0,attention_dropout=0"),
    ],
)
def test_dropout_is_set_by_the_names_of_the_config(config, overrides):
    override_config(config, overrides, pretrained=True)
    assert [getattr(config, part.split("=")[0].strip()) for part in overrides.split(",")] == [0] * (
        overrides.count(",") + 1
    )


@pytest.mark.parametrize(
    "overrides, message",
    [
        ("hidden_size=64", "only dropout and num_hidden_layers of a pretrained encoder"),
        ("num_hidden_layers=13", "the pretrained encoder has 12 layers"),
        ("num_hidden_layers=0", "the pretrained encoder has 12 layers"),
        (
            "hiden_dropout_prob=0",
            "not a name=value of a bert config; did you mean .hidden_dropout_prob",
        ),
        ("hidden_dropout_prob", "not a name=value"),
        ("hidden_dropout_prob=none", "config_overrides"),
    ],
)
def test_what_would_not_fit_the_weights_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        override_config(BertConfig(), overrides, pretrained=True)


def test_a_checkpoint_trains_on_without_dropout(tmp_path, topic_checkpoint, topic_files):
    """Every dropout of the encoder is off, the head has what was asked for; the config that is saved says so."""
    run = fit(
        model_name_or_path=str(topic_checkpoint),
        config_overrides=NO_DROPOUT,
        head_dropout=0.25,
        train_file=topic_files["train"],
        max_length=32,
        max_steps=1,
        report_to="none",
        output_dir=tmp_path,
    )
    before, after = (
        EncoderWithHead.from_pretrained(folder) for folder in (topic_checkpoint, run.output_dir)
    )
    assert {module.p for module in before.encoder.modules() if isinstance(module, nn.Dropout)} == {
        0.1
    }
    assert {module.p for module in after.encoder.modules() if isinstance(module, nn.Dropout)} == {
        0.0
    }
    assert (before.dropout.p, after.dropout.p) == (0.1, 0.25)


def test_a_checkpoint_keeps_its_pooling(tmp_path, topic_checkpoint, topic_files):
    with pytest.raises(
        UserError, match="pooling max is not that of .*, whose head was trained on mean"
    ):
        fit(
            model_name_or_path=str(topic_checkpoint),
            pooling="max",
            train_file=topic_files["train"],
            max_length=32,
            report_to="none",
            output_dir=tmp_path,
        )


def test_the_lower_layers_of_a_pretrained_encoder(tmp_path, topic_files):
    """They have its weights, and the top ones are gone."""
    torch.manual_seed(0)
    whole = BertModel(
        BertConfig(vocab_size=90, hidden_size=16, num_hidden_layers=3, num_attention_heads=2)
    )
    whole.save_pretrained(tmp_path / "encoder")
    texts = (line.split("\t")[0] for line in topic_files["train"].read_text().splitlines())
    train_tokenizer(texts, 90, 32).save_pretrained(tmp_path / "encoder")
    run = fit(
        model_name_or_path=str(tmp_path / "encoder"),
        config_overrides="num_hidden_layers=2",
        train_file=topic_files["train"],
        max_length=32,
        max_steps=1,
        learning_rate=0.0,
        report_to="none",
        output_dir=tmp_path / "out",
    )
    encoder = EncoderWithHead.from_pretrained(run.output_dir).encoder
    assert len(encoder.encoder.layer) == 2
    for mine, theirs in zip(encoder.encoder.layer, whole.encoder.layer, strict=False):
        assert all(
            torch.equal(p, q) for p, q in zip(mine.parameters(), theirs.parameters(), strict=True)
        )
