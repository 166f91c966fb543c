"""Texts to token ids in batches, and ragged rows to padded batches."""

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, is_caching_enabled
from datasets import __version__ as datasets_version
from tokenizers import Encoding, Tokenizer
from tokenizers import __version__ as tokenizers_version
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.token_cache import cached
from trainer_ext.data.preprocessing.truncation import Tokens, Truncation

TEXTS = ("text", "words", "id")
NOT_FOR_THE_MODEL = ("length", *TEXTS)
IGNORE = -100


def tokenize(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    num_proc: int | None,
    truncation: Truncation = Truncation(),  # noqa: B008 (immutable)
    cleaning: Cleaning = Cleaning(),  # noqa: B008
) -> Dataset:
    """The tokenizer's columns (ragged, at most `max_length` tokens) and `length` in tokens instead of the texts.

    Where there are `words`, their `token_labels` become labels of tokens: a word's at its first piece, -100 elsewhere.
    The result lies in a file under the cache of `datasets`, and is taken from there when rows, tokenizer and settings
    are the same again.

    Raises:
        UserError: when `max_length` has no room for the truncation's marker.
    """
    encode = encoder(tokenizer, max_length, truncation, cleaning)
    settings = {
        "max_length": max_length,
        "truncation": truncation.to_dict(),
        "cleaning": cleaning.to_dict(),
    }
    key = cache_key(dataset, tokenizer, settings)
    workers = num_proc if num_proc and num_proc > 1 and len(dataset) >= num_proc else None
    make = partial(
        dataset.map,
        encode,
        batched=True,
        num_proc=workers,
        remove_columns=[
            name for name in TEXTS if name in dataset.column_names
        ],  # else they are written once more
        desc="tokenising",
        new_fingerprint=key,
    )
    tokens = cached(make, key) if is_caching_enabled() else make(keep_in_memory=True)
    steps, special = cleaning.steps, tokenizer.num_special_tokens_to_add()
    if steps and (empty := sum(length <= special for length in tokens["length"])):
        print(
            f"note: clean {' '.join(steps)} leaves nothing of {empty} of {len(tokens)} texts",
            file=sys.stderr,
        )
    return tokens


def encoder(
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    truncation: Truncation = Truncation(),  # noqa: B008 (immutable)
    cleaning: Cleaning = Cleaning(),  # noqa: B008
) -> Callable[[dict[str, list]], dict[str, list]]:
    """The function that tokenises a batch of columns."""
    cutter = truncation.cutter(
        max_length,
        tokenizer.num_special_tokens_to_add(),
        lambda marker: tokenizer(marker, add_special_tokens=False)["input_ids"],
    )

    backend = tokenizer.backend_tokenizer

    def encode(batch: dict[str, list]) -> dict[str, list]:
        """New columns for a batch."""
        if "words" in batch:
            words = list(map(cleaning.by_word, batch["words"]))
            encoded = tokenizer(
                words, truncation=True, max_length=max_length, is_split_into_words=True
            )
            pieces = [encoded.word_ids(row) for row in range(len(words))]
            columns = {
                **encoded,
                "token_labels": list(map(label_first_pieces, pieces, batch["token_labels"])),
            }
        else:
            forget(backend)
            if cutter is None:
                backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
            # Not by calling `tokenizer`, which takes as long again to turn the encodings into lists one by one.
            rows = backend.encode_batch_fast(list(map(cleaning, batch["text"])))  # no offsets
            columns = model_columns(
                map(cutter, rows) if cutter else rows, tokenizer.model_input_names
            )
        forget(backend)
        return {**columns, "length": list(map(len, columns["input_ids"]))}

    return encode


def forget(backend: Tokenizer) -> None:
    """Take back truncation and padding: the tokenizer is saved, and must not tell whether rows came from the cache."""
    backend.no_padding()
    backend.no_truncation()


def model_columns(rows: Iterable[Tokens | Encoding], names: Collection[str]) -> dict[str, list]:
    """The tokenizer's columns called `names`; a list is only made of what is among them."""
    rows = list(rows)
    columns = {"input_ids": [row.ids for row in rows]}
    if "token_type_ids" in names:
        columns["token_type_ids"] = [row.type_ids for row in rows]
    if "attention_mask" in names:
        columns["attention_mask"] = [[1] * len(row) for row in columns["input_ids"]]
    return {name: columns[name] for name in names}


def cache_key(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any]
) -> str:
    """Hex digest of everything the tokenised rows are a function of: rows, tokenizer, settings, and this file."""
    backend = tokenizer.backend_tokenizer
    forget(backend)
    content = {
        "rows": dataset._fingerprint,  # of rows in memory this is a hash of their content
        "tokenizer": backend.to_str(),
        "inputs": [list(tokenizer.model_input_names), tokenizer.truncation_side],
        "settings": settings,
        "versions": [datasets_version, tokenizers_version],
        "code": Path(__file__).read_text(encoding="utf-8"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


class ModelTexts:
    """The texts of a data set as the model reads them, any number of times: what a vocabulary is trained on."""

    def __init__(self, dataset: Any, cleaning: Cleaning):
        self.dataset, self.cleaning = dataset, cleaning

    def __iter__(self) -> Iterator[str]:
        if "words" in getattr(self.dataset, "column_names", ()):
            return (" ".join(self.cleaning.by_word(words)) for words in self.dataset["words"])
        return map(self.cleaning, self.dataset["text"])


def label_first_pieces(word_ids: list[int | None], labels: list[int]) -> list[int]:
    """A label for each piece from one for each word; `word_ids` as tokenizers give them, None for special tokens."""
    previous, out = None, []
    for word in word_ids:
        out.append(IGNORE if word is None or word == previous else labels[word])
        previous = word
    return out


def read_words_with_blanks(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a byte-level tokenizer take a list of words as the words of a text, each with the blank before it."""
    pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    if isinstance(pre_tokenizer, ByteLevel):
        pre_tokenizer.add_prefix_space = True
        tokenizer.add_prefix_space = True


@dataclass
class Collator:
    """Pads a batch to its longest row (dynamic padding) and stacks the labels; labels of tokens are padded too."""

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        labels = {"labels": torch.tensor([row["labels"] for row in rows])}
        leave_out = ("labels", "token_labels", *NOT_FOR_THE_MODEL)
        inputs = [{k: v for k, v in row.items() if k not in leave_out} for row in rows]
        batch = pad_without_fast_tokenizer_warning(
            self.tokenizer, inputs, padding_side="right", return_tensors="pt"
        )
        if "token_labels" in rows[0]:
            padded = torch.full(batch["input_ids"].shape, IGNORE)
            for row, values in enumerate(rows):
                padded[row, : len(values["token_labels"])] = torch.tensor(values["token_labels"])
            labels["token_labels"] = padded
        return {**batch, **labels}
