"""Arrays of tags, with positions that begin no word."""

from typing import Any

import numpy as np

from trainer_ext.tasks.activations import Array

NO_WORD = -100
"""The label of positions that do not begin a word: special tokens, later pieces and padding."""


def is_constant(values: Array) -> bool:
    """Return whether there are values, and all are equal."""
    if len(values) == 0:
        return False
    are_equal = values == values[0]
    return bool(are_equal.all())


def without_no_words(gold: Any, predicted: Any) -> tuple[Array, Array]:
    """Return a row's true and predicted tags (words,), without the positions that begin no word."""
    # An empty list would become an array of floats, which are no indices.
    gold = np.asarray(gold, dtype=np.int64)
    is_word = gold != NO_WORD
    return gold[is_word], np.asarray(predicted)[is_word]
