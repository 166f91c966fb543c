"""Texts to token ids in batches, and ragged rows to padded batches."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from trainer_ext.data.cleaning import Cleaning
from trainer_ext.data.truncation import Tokens, Truncation

NOT_FOR_THE_MODEL = ("length", "text", "id", "words")
IGNORE = -100


def tokenize(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    num_proc: int | None,
    truncation: Truncation = Truncation(),  # noqa: B008 (immutable)
    cleaning: Cleaning = Cleaning(),  # noqa: B008
) -> Dataset:
    """Add the tokenizer's columns (ragged, at most `max_length` tokens) and `length` in tokens; texts stay as they are.

    Where there are `words`, their `token_labels` become labels of tokens: a word's at its first piece, -100 elsewhere.

    Raises:
        UserError: when `max_length` has no room for the truncation's marker.
    """
    special = tokenizer.num_special_tokens_to_add()
    cutter = truncation.cutter(
        max_length, special, lambda marker: tokenizer(marker, add_special_tokens=False)["input_ids"]
    )

    def encode(batch: dict[str, list]) -> dict[str, list]:
        by_word = "words" in batch
        texts = list(map(cleaning.by_word, batch["words"])) if by_word else list(map(cleaning, batch["text"]))
        if cutter is None:
            encoded = tokenizer(texts, truncation=True, max_length=max_length, is_split_into_words=by_word)
            columns = dict(encoded)
        else:
            encoded = tokenizer(texts, truncation=False, verbose=False)
            columns = cut_columns(map(cutter, encoded.encodings), encoded)
        columns["length"] = [len(ids) for ids in columns["input_ids"]]
        if by_word:
            columns["token_labels"] = [
                label_first_pieces(encoded.word_ids(row), labels) for row, labels in enumerate(batch["token_labels"])
            ]
        return columns

    tokens = dataset.map(encode, batched=True, num_proc=num_proc, desc="tokenising")
    if cleaning.steps and (empty := sum(length <= special for length in tokens["length"])):
        print(
            f"note: clean {' '.join(cleaning.steps)} leaves nothing of {empty} of {len(tokens)} texts", file=sys.stderr
        )
    return tokens


def cut_columns(rows: Iterable[Tokens], names: Iterable[str]) -> dict[str, list]:
    """The tokenizer's columns called `names`, of texts that were cut."""
    ids, types = (list(column) for column in zip(*rows, strict=True))
    columns = {"input_ids": ids, "token_type_ids": types, "attention_mask": [[1] * len(row) for row in ids]}
    return {name: columns[name] for name in names}


def model_texts(dataset: Dataset, cleaning: Cleaning) -> Iterator[str]:
    """The texts as the model reads them; what a vocabulary is trained on."""
    if "words" in dataset.column_names:
        return (" ".join(cleaning.by_word(words)) for words in dataset["words"])
    return map(cleaning, dataset["text"])


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
        batch = pad_without_fast_tokenizer_warning(self.tokenizer, inputs, return_tensors="pt")
        if "token_labels" in rows[0]:
            padded = torch.full(batch["input_ids"].shape, IGNORE)
            for row, values in enumerate(rows):
                padded[row, : len(values["token_labels"])] = torch.tensor(values["token_labels"])
            labels["token_labels"] = padded
        return {**batch, **labels}
