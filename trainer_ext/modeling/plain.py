"""Classifiers that plain transformers saved: loaded as they are, with the head that they were trained with."""

import json
import logging
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)

from trainer_ext.compatibility import has_vocabulary
from trainer_ext.data.preprocessing.plain_checkpoint import as_size
from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.remote_code import WITH_FLAG, why_not_loaded

SHOWN = 5
# A word that their vocabulary lacks is unknown; other kinds would have to be trained anew without some of their pieces.
CAN_LOSE_TOKENS = ("WordPiece", "WordLevel")

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


class PlainTokenizer(NamedTuple):
    """The tokenizer of a plain checkpoint, and whether it is another than that of its tokenizer.json."""

    tokenizer: Tokenizer
    is_changed: bool


def plain_tokenizer(folder: Path) -> PlainTokenizer:
    """Return the tokenizer of a plain checkpoint, as tokenizer.json should have it.

    Raises:
        UserError: if there is none, or it makes tokens that the model has no embeddings for.
    """
    tokenizer = saved_tokenizer(folder)
    size = as_size(read_json(folder / "config.json").get("vocab_size"))
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if size is None or largest < size:
        return PlainTokenizer(tokenizer, not (folder / "tokenizer.json").is_file())
    return PlainTokenizer(without_tokens_beyond(folder, tokenizer, size), True)


def saved_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer as it was saved, converted if it is in an older form."""
    file = folder / "tokenizer.json"
    if file.is_file():
        return Tokenizer.from_file(str(file))
    return convert_tokenizer(folder)


def without_tokens_beyond(folder: Path, tokenizer: Tokenizer, size: int) -> Tokenizer:
    """Return a tokenizer without the tokens that a model of `size` embeddings cannot look up: they become unknown.

    transformers would fail at the first text that has one.
    """
    content = json.loads(tokenizer.to_str())
    model = content["model"]
    tokens = tokenizer.get_vocab_size()
    if model["type"] not in CAN_LOSE_TOKENS:
        raise UserError(
            f"model {folder}: its tokenizer has {tokens} tokens, but its encoder has embeddings for "
            f"{size}: they are not of the same model"
        )
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number < size}
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < size]
    logger.warning(
        "%s: its tokenizer has %d tokens, but its encoder has embeddings for %d: words with others "
        "are read as unknown",
        folder,
        tokens,
        size,
    )
    return Tokenizer.from_str(json.dumps(content))


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
    if not has_vocabulary(tokenizer):
        raise UserError(
            f"model {folder} has no tokenizer.json, and its vocabulary cannot be converted: there is none"
        )
    if not tokenizer.is_fast:
        raise UserError(
            f"model {folder} has no tokenizer.json, and its {type(tokenizer).__name__} has no fast form"
        )
    converted: Tokenizer = tokenizer.backend_tokenizer
    return converted
