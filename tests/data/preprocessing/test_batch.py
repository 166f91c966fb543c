"""Texts as arrays: padded, and one behind the other."""

import numpy as np
import pytest

from trainer_ext.data.preprocessing.batch import Arrays, Batch
from trainer_ext.data.preprocessing.truncation import Tokens

NAMES = ("input_ids", "attention_mask", "token_type_ids")
TEXTS = (Tokens([5, 6, 7], [0, 0, 1]), Tokens([8], [1]))


def lists(arrays: Arrays) -> dict[str, list]:
    """The arrays as lists; all are 64-bit integers."""
    assert all(array.dtype == np.int64 for array in arrays.values())
    return {name: array.tolist() for name, array in arrays.items()}


def test_padded_on_the_right():
    """Padding has the id of the pad token, and neither mask nor type."""
    assert lists(Batch(TEXTS, 9, NAMES).padded()) == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "token_type_ids": [[0, 0, 1], [1, 0, 0]],
    }


@pytest.mark.parametrize("text", TEXTS)
def test_a_single_text_is_as_in_a_batch(text):
    alone = lists(Batch([text], 9, NAMES).padded())
    for name, rows in lists(Batch([text, text], 9, NAMES).padded()).items():
        assert alone[name] == rows[:1]


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1]])
def test_a_model_gets_the_inputs_that_it_takes(texts):
    """A torch model would refuse others."""
    assert list(Batch(texts, 9, NAMES[:2]).padded()) == ["input_ids", "attention_mask"]


def test_one_behind_the_other():
    """Without padding; where a model takes no types they are 0, as in ONNX Runtime's sessions."""
    batch = Batch(TEXTS, 9, NAMES)
    flat = {"input_ids": [5, 6, 7, 8], "attention_mask": [1, 1, 1, 1]}
    assert batch.lengths == [3, 1]
    assert lists(batch.flat()) == {**flat, "token_type_ids": [0, 0, 1, 1]}
    assert lists(Batch(TEXTS, 9, NAMES[:2]).flat()) == {**flat, "token_type_ids": [0, 0, 0, 0]}
