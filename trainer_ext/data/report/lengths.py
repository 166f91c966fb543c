"""How long texts are, how many a `max_length` leaves whole, and which one to take."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from trainer_ext.remote_code import NOT_HERE, why_not_loaded
from trainer_ext.tasks.words import WORD

MAX_LENGTHS = (64, 96, 128, 192, 256, 384, 512)
PERCENTILES = (0, 5, 25, 50, 75, 90, 95, 99, 100)
WHOLE = 0.99  # the share of the texts that the recommended max_length leaves whole
PIECES_PER_WORD = 1.3  # of English under a 30,000-piece vocabulary, as a rule of thumb

Count = Callable[[Sequence], list[int]]
"""Tokens, special ones included, of each of some texts (or lists of words)."""


def token_counter(name: str) -> Count:
    """Counts with the tokenizer of a model or a checkpoint."""
    from transformers import AutoTokenizer

    from trainer_ext.errors import UserError

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model_name_or_path {name} has no tokenizer: {why_not_loaded(error, NOT_HERE)}"
        ) from error
    return counter_of(tokenizer)


def counter_of(tokenizer: Any) -> Count:
    """Counts with a tokenizer of transformers."""

    def count(texts: Sequence) -> list[int]:
        """Without truncation."""
        by_word = bool(texts) and not isinstance(texts[0], str)
        encoded = tokenizer(
            list(texts), truncation=False, is_split_into_words=by_word, verbose=False
        )
        return [len(ids) for ids in encoded["input_ids"]]

    return count


def estimate(texts: Iterable) -> list[int]:
    """Tokens without a tokenizer: a Chinese character is one, another word 1.3, and two special ones."""
    found = (WORD.findall(text if isinstance(text, str) else " ".join(text)) for text in texts)
    return [
        2 + round(sum(1 if len(word) == 1 else PIECES_PER_WORD for word in words))
        for words in found
    ]


class Lengths:
    """Lengths of texts added in batches, 12 bytes a text."""

    def __init__(self, count: Count | None = None):
        self.count = count or estimate
        self.unit = "tokens" if count else "tokens (estimated)"
        self.values = {unit: array("I") for unit in (self.unit, "characters", "words")}

    def add(self, texts: Sequence) -> None:
        """Texts, or lists of words."""
        self.values[self.unit].extend(self.count(texts))
        self.values["characters"].extend(
            len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts
        )
        self.values["words"].extend(
            len(text.split() if isinstance(text, str) else text) for text in texts
        )

    def summary(self) -> dict[str, Any]:
        """Percentiles and mean by unit; of the tokens the coverage of each max_length, and the recommended one."""
        tokens = np.asarray(self.values[self.unit])
        coverage = {
            str(limit): round(float((tokens <= limit).mean()), 4)
            for limit in MAX_LENGTHS
            if len(tokens)
        }
        enough = [limit for limit in MAX_LENGTHS if coverage.get(str(limit), 0) >= WHOLE]
        return {
            "unit": self.unit,
            **{unit: percentiles(values) for unit, values in self.values.items()},
            "coverage": coverage,
            "recommended_max_length": enough[0] if enough else MAX_LENGTHS[-1],
        }


def percentiles(values: Sequence[int]) -> dict[str, float]:
    """`min`, `p5` ... `p99`, `max` and `mean`; nothing for no values."""
    if not len(values):
        return {}
    names = ["min", *(f"p{p}" for p in PERCENTILES[1:-1]), "max"]
    found = np.percentile(np.asarray(values), PERCENTILES, method="inverted_cdf")
    return {name: int(value) for name, value in zip(names, found, strict=True)} | {
        "mean": round(float(np.mean(values)), 1)
    }
