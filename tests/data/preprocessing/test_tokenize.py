"""Batches of literal rows."""

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from trainer_ext.data.preprocessing.tokenize import Collator, tokenize

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "c": 6}


def make_tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def test_three_ragged_rows():
    data = Dataset.from_dict({"text": ["a", "a b c", "x"], "labels": [0, 2, 1]})
    tokens = tokenize(data, make_tokenizer(), 8, None)
    assert list(tokens["length"]) == [3, 5, 3]
    batch = Collator(make_tokenizer())([tokens[k] for k in range(3)])
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"].tolist() == [[2, 4, 3, 0, 0], [2, 4, 5, 6, 3], [2, 1, 3, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch["labels"].tolist() == [0, 2, 1]


def test_truncation_keeps_the_special_tokens_and_aspects_stay_rows():
    data = Dataset.from_dict({"text": ["a b c a b c", "b"], "labels": [[0, 1], [1, 1]]})
    tokens = tokenize(data, make_tokenizer(), 4, None)
    assert tokens[0]["input_ids"] == [2, 4, 5, 3]
    batch = Collator(make_tokenizer())([tokens[1]])
    assert batch["input_ids"].shape == (1, 3), (
        "padded to the longest of the batch, not to max_length"
    )
    assert batch["labels"].tolist() == [[1, 1]]
