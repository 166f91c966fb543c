"""The rows that a benchmark runs: token ids drawn from the vocabulary, of the lengths and batches that are compared."""

from collections.abc import Iterable

import numpy as np
from tokenizers import Tokenizer

from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.export.probe import ordinary_ids, special_tokens_around

SEED = 0
LENGTHS = (16, 32, 64, 128)  # tokens, special tokens included
BATCH_SIZES = (1, 8, 32)

Rows = dict[int, list[list[int]]]


def lengths_within(max_length: int) -> list[int]:
    """Return the lengths to measure; a model for shorter texts is measured at its longest instead."""
    return sorted({min(length, max_length) for length in LENGTHS})


def draw_rows(tokenizer: Tokenizer, pipeline: Pipeline) -> Rows:
    """Return as many rows as the largest batch needs, by length; always the same for one vocabulary."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    before, behind = special_tokens_around(tokenizer)
    ids = ordinary_ids(tokenizer, {*before, *behind, pipeline.pad_token_id})
    generator = np.random.default_rng(SEED)
    rows: Rows = {}
    for length in lengths_within(pipeline.max_length):
        drawn = max(0, length - len(before) - len(behind))
        texts = generator.choice(ids, (max(BATCH_SIZES), drawn))
        rows[length] = with_special_tokens(texts.tolist(), before, behind)
    return rows


def with_special_tokens(
    texts: Iterable[list[int]], before: list[int], behind: list[int]
) -> list[list[int]]:
    """Return the texts with the ids that the tokenizer puts around each."""
    rows = []
    for text in texts:
        rows.append([*before, *text, *behind])
    return rows
