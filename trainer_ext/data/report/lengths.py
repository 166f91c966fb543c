"""Measure how long texts are, how many a `max_length` leaves whole, and which one to take."""

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.remote_code import NOT_HERE, why_not_loaded
from trainer_ext.tasks.words import WORD

MAX_LENGTHS = (64, 96, 128, 192, 256, 384, 512)
PERCENTILES = {
    "min": 0,
    "p5": 5,
    "p25": 25,
    "p50": 50,
    "p75": 75,
    "p90": 90,
    "p95": 95,
    "p99": 99,
    "max": 100,
}
WHOLE = 0.99  # the share of the texts that the recommended max_length leaves whole
# Of English under a vocabulary of 30,000 pieces, as a rule of thumb.
PIECES_PER_WORD = 1.3
SPECIAL_TOKENS = 2

Text = str | Sequence[str]
"""A text, or the words of one."""
Count = Callable[[Sequence[Text]], list[int]]
"""Return the tokens, special ones included, of each of some texts."""


def token_counter(name: str) -> Count:
    """Return what counts tokens with the tokenizer of a model or a checkpoint.

    Raises:
        UserError: if it has no tokenizer, or one that needs code of its own.
    """
    # Slow to import, and an estimate does without it.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model_name_or_path {name} has no tokenizer: {why_not_loaded(error, NOT_HERE)}"
        ) from error
    return counter_of(tokenizer)


def counter_of(tokenizer: Any) -> Count:
    """Return what counts tokens with a tokenizer of transformers."""

    def count(texts: Sequence[Text]) -> list[int]:
        """Count without truncation; all texts are of one kind."""
        by_word = bool(texts) and not isinstance(texts[0], str)
        # Not verbose: each text of more than 512 tokens would be warned of.
        encoded = tokenizer(
            list(texts), truncation=False, is_split_into_words=by_word, verbose=False
        )
        return [len(ids) for ids in encoded["input_ids"]]

    return count


def estimate(texts: Iterable[Text]) -> list[int]:
    """Estimate the tokens of each text without a tokenizer."""
    return [estimate_one(text) for text in texts]


def estimate_one(text: Text) -> int:
    """Estimate the tokens of a text: a Chinese character is one, another word 1.3, and two are special."""
    if not isinstance(text, str):
        text = " ".join(text)
    pieces = 0.0
    for word in re.findall(WORD, text):
        pieces += 1 if len(word) == 1 else PIECES_PER_WORD
    return SPECIAL_TOKENS + round(pieces)


def characters_in(text: Text) -> int:
    """Count the characters of a text, without white space if it is a list of words."""
    if isinstance(text, str):
        return len(text)
    return sum(len(word) for word in text)


def words_in(text: Text) -> int:
    """Count the words of a text, by white space."""
    if isinstance(text, str):
        return len(text.split())
    return len(text)


class Lengths:
    """Lengths of texts added in batches, 12 bytes a text."""

    def __init__(self, count: Count | None = None):
        self.count = count or estimate
        self.unit = "tokens" if count else "tokens (estimated)"
        self.values: dict[str, array[int]] = {
            self.unit: array("I"),
            "characters": array("I"),
            "words": array("I"),
        }

    def add(self, texts: Sequence[Text]) -> None:
        """Measure some texts."""
        self.values[self.unit].extend(self.count(texts))
        for text in texts:
            self.values["characters"].append(characters_in(text))
            self.values["words"].append(words_in(text))

    def summary(self) -> dict[str, Any]:
        """Return percentiles by unit; of the tokens the coverage of each max_length, and the recommended one."""
        coverage = self.coverage()
        # Without texts no length covers them, and the largest harms nothing.
        recommended = MAX_LENGTHS[-1]
        for limit in reversed(MAX_LENGTHS):
            if coverage.get(str(limit), 0) >= WHOLE:
                recommended = limit
        summary: dict[str, Any] = {"unit": self.unit}
        for unit, values in self.values.items():
            summary[unit] = percentiles(values)
        return summary | {"coverage": coverage, "recommended_max_length": recommended}

    def coverage(self) -> dict[str, float]:
        """Return the share of the texts that each max_length leaves whole; nothing if there are no texts."""
        tokens = np.asarray(self.values[self.unit])
        if not len(tokens):
            return {}
        shares = {}
        for limit in MAX_LENGTHS:
            share = float((tokens <= limit).mean())
            shares[str(limit)] = round(share, 4)
        return shares


def percentiles(values: Sequence[int]) -> dict[str, float]:
    """Return `min`, `p5` ... `p99`, `max` and `mean`; nothing if there are no values."""
    if not len(values):
        return {}
    lengths = np.asarray(values)
    # The inverse of the distribution gives lengths that occur, not what lies between them.
    found = np.percentile(lengths, list(PERCENTILES.values()), method="inverted_cdf")
    summary = dict(zip(PERCENTILES, found.tolist(), strict=True))
    summary["mean"] = round(float(lengths.mean()), 1)
    return summary
