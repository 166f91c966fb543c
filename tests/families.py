"""Tiny encoders of each family, built from configs: no weights are downloaded, and each is made in milliseconds."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.build import OWN_POOLINGS
from trainer_ext.tasks import TASKS, LabelSpace

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *("good", "bad", "fine", "dull", "great", "poor", "clean", "dirty", "loud", "quiet", "quick"),
    *("slow", "kind", "rude", "warm", "cold", "food", "staff", "room", "price", "day", "night"),
    *("bed", "bath", "view", "door", "new", "old", "big", "small", "the", "a", "an", "and", "but"),
    *("very", "not", "was", "were", "is", "it", "we", "they", "here", "there"),
]
SIZES = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}
SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
# What a family calls its sizes otherwise, or needs beside them.
FAMILIES = {
    "bert": {},
    "roberta": {},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
    },
    "electra": {"embedding_size": 16},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "albert": {"embedding_size": 16},
    "modernbert": {"cls_token_id": 2, "sep_token_id": 3, "local_attention": 16},
    "xlm-roberta": {},
    "mpnet": {},
    "ernie": {},
}

# Encoders of ours, which plain transformers has no classifier for.
STUDENTS = {
    "bilstm_encoder": {"vocab_size": 200, "embedding_size": 16, "hidden_size": 32},
    "static_encoder": {"vocab_size": 200, "hidden_size": 32, "num_buckets": 128},
}


def family_config(family: str, **changes) -> PretrainedConfig:
    """A small config of the family; `changes` win."""
    if family in STUDENTS:
        return AutoConfig.for_model(family, **(STUDENTS[family] | {"pad_token_id": 0} | changes))
    sizes = dict(SIZES)
    if family == "distilbert":
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
            del sizes[name]
        del sizes["intermediate_size"]
    return AutoConfig.for_model(family, **(sizes | SPECIAL_IDS | FAMILIES[family] | changes))


def word_tokenizer(max_length: int = 64) -> PreTrainedTokenizerFast:
    """Words between spaces, in [CLS] ... [SEP]."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, sep_token="[SEP]", model_max_length=max_length, **names
    )


def spread_out(model: PreTrainedModel) -> PreTrainedModel:
    """Give the weights a size at which texts get logits of their own; those of a fresh model are all but equal."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def save_plain(folder: Path, family: str = "bert", **changes) -> Path:
    """A classifier as anybody saves one: `changes` go into its config (id2label, problem_type ...)."""
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    problem = {"problem_type": "single_label_classification"}
    config = family_config(family, **(labels | problem | changes))
    model = spread_out(AutoModelForSequenceClassification.from_config(config))
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def some_texts(count: int = 24) -> list[str]:
    """Texts of 1 to 12 words, all different."""
    texts = []
    for number in range(count):
        length = 1 + number % 12
        words = [WORDS[(7 * number + 5 * place) % len(WORDS)] for place in range(length)]
        texts.append(" ".join(words))
    return texts


def save_ours(
    folder: Path,
    family: str = "bert",
    pooling: str | None = None,
    **changes,
) -> Path:
    """A checkpoint of this project around an encoder of the family, as a training would leave it."""
    pooling = pooling or OWN_POOLINGS.get(family, "cls")
    config = family_config(family, **changes)
    tokenizer = word_tokenizer()
    space = LabelSpace(("label",), ("bad", "good"), ("bad", "good"))
    pipeline = Pipeline(
        TASKS["single_label"](space),
        max_length=64,
        pad_token_id=0,
        input_names=["input_ids", "attention_mask"],
    )
    model = EncoderWithHead(
        EncoderWithHeadConfig(config, [2], pooling=pooling, pipeline=pipeline.to_dict())
    )
    spread_out(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_rows(path: Path, count: int = 24) -> Path:
    """Labelled rows to prove an export on."""
    lines = []
    for number, text in enumerate(some_texts(count)):
        row = {"text": text, "label": ("bad", "good")[number % 2]}
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path
