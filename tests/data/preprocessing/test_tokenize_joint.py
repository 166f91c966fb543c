"""Labels of words at their first pieces, and padded batches: literal values."""

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from trainer_ext.data.preprocessing.tokenize import (
    Collator,
    label_first_pieces,
    read_words_with_spaces,
    tokenize,
)

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "sea", "##ttle", "rocks", "hard"]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """`seattle` is two pieces."""
    word_piece = Tokenizer(
        models.WordPiece({w: k for k, w in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    word_piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    word_piece.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=word_piece, pad_token="[PAD]", model_input_names=names
    )


def test_first_pieces():
    assert label_first_pieces([None, 0, 0, 1, 2, 2, 2, None], [7, 8, 9]) == [
        -100,
        7,
        -100,
        8,
        9,
        -100,
        -100,
        -100,
    ]
    assert label_first_pieces([None, 0, 2, None], [7, 8, 9]) == [
        -100,
        7,
        9,
        -100,
    ]  # the second word has no piece
    assert label_first_pieces([], []) == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_and_batch(tokenizer, side):
    """Labels stand at their tokens whatever side the tokenizer pads on: prediction pads on the right."""
    tokenizer.padding_side = side
    columns = {
        "text": ["seattle rocks hard", "hard"],
        "words": [["seattle", "rocks", "hard"], ["hard"]],
        "labels": [1, 0],
        "token_labels": [[1, 0, 2], [0]],
    }
    rows = tokenize(Dataset.from_dict(columns), tokenizer, 6, None)
    assert rows["input_ids"][:] == [[2, 4, 5, 6, 7, 3], [2, 7, 3]]
    assert rows["token_labels"][:] == [[-100, 1, -100, 0, 2, -100], [-100, 0, -100]]
    assert rows["length"][:] == [6, 3]
    batch = Collator(tokenizer)([rows[0], rows[1]])
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[2, 4, 5, 6, 7, 3], [2, 7, 3, 0, 0, 0]],
        "attention_mask": [[1] * 6, [1, 1, 1, 0, 0, 0]],
        "labels": [1, 0],
        "token_labels": [[-100, 1, -100, 0, 2, -100], [-100, 0, -100, -100, -100, -100]],
    }


def test_words_beyond_max_length_have_no_label_in_training(tokenizer):
    columns = {
        "text": ["-"],
        "words": [["rocks", "seattle"]],
        "labels": [0],
        "token_labels": [[1, 2]],
    }
    rows = tokenize(Dataset.from_dict(columns), tokenizer, 3, None)
    assert rows["input_ids"][0] == [2, 6, 3] and rows["token_labels"][0] == [-100, 1, -100]


def test_byte_level_words_begin_with_a_blank():
    """As they do in a text; also in the tokenizer.json that prediction reads."""
    vocabulary = {"a": 0, "b": 1, "Ġ": 2, "Ġa": 3, "Ġb": 4}
    byte_level = Tokenizer(models.BPE(vocabulary, [("Ġ", "a"), ("Ġ", "b")]))
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level)
    read_words_with_spaces(tokenizer)
    assert tokenizer(["a", "b"], is_split_into_words=True)["input_ids"] == [3, 4]
    saved = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    assert saved.encode(["a", "b"], is_pretokenized=True).ids == [3, 4]
