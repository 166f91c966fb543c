"""Texts to token ids in batches, and ragged rows to padded batches."""

from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

NOT_FOR_THE_MODEL = ("length", "text", "id")


def tokenize(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, num_proc: int | None) -> Dataset:
    """Add the tokenizer's columns (ragged, at most `max_length` tokens) and `length` in tokens."""

    def encode(batch: dict[str, list]) -> dict[str, list]:
        encoded = tokenizer(batch["text"], truncation=True, max_length=max_length)
        return {**encoded, "length": [len(ids) for ids in encoded["input_ids"]]}

    return dataset.map(encode, batched=True, num_proc=num_proc, desc="tokenising")


@dataclass
class Collator:
    """Pads a batch to its longest row (dynamic padding) and stacks the labels."""

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        labels = [row["labels"] for row in rows]
        inputs = [{k: v for k, v in row.items() if k != "labels" and k not in NOT_FOR_THE_MODEL} for row in rows]
        batch = pad_without_fast_tokenizer_warning(self.tokenizer, inputs, return_tensors="pt")
        return {**batch, "labels": torch.tensor(labels)}
