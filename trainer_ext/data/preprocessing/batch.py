"""Texts that are run together, as arrays: padded to the longest, or one behind the other. Needs no framework."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from trainer_ext.data.preprocessing.truncation import Tokens

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Texts of one run, for whatever runs them.

    Attributes:
        texts: at least one.
        pad_token_id: the token that fills a batch up.
        input_names: what the model takes: `input_ids`, `attention_mask` and perhaps `token_type_ids`.
    """

    texts: Sequence[Tokens]
    pad_token_id: int
    input_names: Sequence[str]

    @property
    def lengths(self) -> list[int]:
        """Return how many tokens each text has."""
        return [len(text.ids) for text in self.texts]

    def padded(self) -> Arrays:
        """Return int64 arrays (B, longest) by input name, padded on the right."""
        arrays = pad(self.texts, self.pad_token_id)
        return {name: arrays[name] for name in self.input_names}

    def flat(self) -> Arrays:
        """Return int64 arrays (tokens of all texts) by name, one text behind the other.

        All three inputs are there: types are 0 if the model takes none.
        """
        input_ids = joined(text.ids for text in self.texts)
        if "token_type_ids" in self.input_names:
            token_type_ids = joined(text.type_ids for text in self.texts)
        else:
            token_type_ids = np.zeros_like(input_ids)
        return {
            "input_ids": input_ids,
            "attention_mask": np.ones_like(input_ids),
            "token_type_ids": token_type_ids,
        }


def pad(texts: Sequence[Tokens], pad_token_id: int) -> Arrays:
    """Return the arrays (B, longest) of texts by input name."""
    if len(texts) == 1:
        return unpadded(texts[0])
    longest = max(len(text.ids) for text in texts)
    shape = (len(texts), longest)
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    token_type_ids = np.zeros(shape, dtype=np.int64)
    for row, text in enumerate(texts):
        length = len(text.ids)
        input_ids[row, :length] = text.ids
        attention_mask[row, :length] = 1
        token_type_ids[row, :length] = text.type_ids
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "token_type_ids": token_type_ids,
    }


def unpadded(text: Tokens) -> Arrays:
    """Return the arrays (1, L) of a single text: half the time of filling padded ones."""
    input_ids = np.array([text.ids], dtype=np.int64)
    return {
        "input_ids": input_ids,
        "attention_mask": np.ones_like(input_ids),
        "token_type_ids": np.array([text.type_ids], dtype=np.int64),
    }


def joined(lists: Iterable[list[int]]) -> np.ndarray:
    """Return the numbers of several lists as one int64 array."""
    return np.fromiter(chain.from_iterable(lists), dtype=np.int64)
