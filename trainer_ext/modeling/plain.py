"""Classifiers that plain transformers saved: loaded as they are, with the head that they were trained with."""

import logging
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)

from trainer_ext.errors import UserError
from trainer_ext.remote_code import WITH_FLAG, why_not_loaded

SHOWN = 5

logger = logging.getLogger(__name__)


def load_plain(folder: Path, config: PretrainedConfig, own_code: bool = False) -> PreTrainedModel:
    """Load a classifier in float32, its pooler and its classifier as they were trained.

    Raises:
        UserError: if weights are missing, or have other shapes than the config says.
    """
    # Its answers are its logits; more outputs would be computed and exported for nothing.
    config.output_hidden_states = False
    config.output_attentions = False
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        trust_remote_code=own_code,
    )
    check_weights(folder, model, info)
    loaded: PreTrainedModel = model
    return loaded


def check_weights(folder: Path, model: PreTrainedModel, info: dict[str, list]) -> None:
    """Raise `UserError` for weights that are missing or of another shape; note those that are not used.

    transformers fills such weights with random numbers, and only logs it. Weights that are left over do no harm: many
    models were saved with a pooler that their classifier does not read.
    """
    missing = sorted(map(str, info["missing_keys"]))
    mismatched = sorted(str(key) for key in info["mismatched_keys"])
    prefix = f"{model.base_model_prefix}."
    of_head = [name for name in missing if not name.startswith(prefix)]
    if of_head and len(of_head) == len(missing):
        raise UserError(
            f"model {folder}: its classifier has no weights ({shown(of_head)}): train it first "
            f"(train.py --model_name_or_path {folder})"
        )
    if missing or mismatched:
        raise UserError(
            f"model {folder}: its weights do not fit its config: {shown([*missing, *mismatched])}"
        )
    unused = sorted(map(str, info["unexpected_keys"]))
    if unused:
        logger.info("%s: weights that its classifier does not use: %s", folder, shown(unused))


def shown(names: list[str]) -> str:
    """Return the first few names, for a message."""
    text = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        text += ", ..."
    return text


def convert_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a checkpoint that has no tokenizer.json but a vocabulary in an older form.

    vocab.txt, vocab.json with merges.txt, or a sentencepiece model; transformers converts them.

    Raises:
        UserError: if there is none, or it has no fast form.
    """
    try:
        # Never with code of the folder: a tokenizer.json would need none.
        tokenizer = AutoTokenizer.from_pretrained(
            folder, use_fast=True, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers and sentencepiece raise many types
        reason = why_not_loaded(error, WITH_FLAG)
        raise UserError(
            f"model {folder} has no tokenizer.json, and its vocabulary cannot be converted: {reason}"
        ) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"model {folder} has no tokenizer.json, and its {type(tokenizer).__name__} has no fast form"
        )
    converted: Tokenizer = tokenizer.backend_tokenizer
    return converted
