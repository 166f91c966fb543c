"""Vocabularies and configs for training from scratch."""

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, labelled_lines
from trainer_ext.errors import UserError
from trainer_ext.modeling.scratch import SIZES, scratch_config, train_tokenizer

TEXTS = [text for text, _ in labelled_lines(200, 5)] + [
    "味道很好，服务一般",
    "服务热情，味道不错",
    "Playing ABC played plays",
] * 3


@pytest.mark.slow
def test_the_vocabulary_is_the_same_in_every_process():
    """In this one and in two others, whose tables of hashes begin otherwise."""
    code = (
        "import hashlib, sys; from tests.modeling.test_scratch import TEXTS, train_tokenizer as t;"
        "sys.stdout.write(hashlib.sha256(t(TEXTS, 150, 32).backend_tokenizer.to_str().encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    here = train_tokenizer(TEXTS, 150, 32).backend_tokenizer.to_str()
    assert runs == {hashlib.sha256(here.encode()).hexdigest()}


def test_chinese_by_character_and_latin_by_pieces():
    tokenizer = train_tokenizer(TEXTS, 400, 32)
    assert tokenizer.tokenize("服务很好ABC") == ["服", "务", "很", "好", "abc"]
    assert tokenizer.tokenize("ＡＢＣ") == ["abc"], "full width is folded"
    ids = tokenizer("味道").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "味", "道", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(range(5)) == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
    ]
    assert tokenizer.model_input_names == ["input_ids", "attention_mask"]


def test_characters_seen_once_become_unk():
    tokenizer = train_tokenizer([*TEXTS, "龘"], 400, 32)
    assert tokenizer.tokenize("龘") == ["[UNK]"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=30), st.integers(20, 300))
def test_any_texts_within_the_size(texts, size):
    tokenizer = train_tokenizer(texts, size, 16)
    assert len(tokenizer) <= size
    for text in texts:
        assert len(tokenizer(text, truncation=True, max_length=16).input_ids) <= 16


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    tokenizer = train_tokenizer(TEXTS, 100, 32)
    config = scratch_config(size, None, tokenizer, 32)
    assert config.vocab_size == len(tokenizer)
    assert (config.num_hidden_layers, config.hidden_size) == (
        SIZES[size]["num_hidden_layers"],
        SIZES[size]["hidden_size"],
    )


@pytest.mark.parametrize(
    "overrides, message",
    [
        ("hiden_size=8", "did you mean 'hidden_size'"),
        ("hidden_size", "not a name=value"),
        ("hidden_size=eight", "config_overrides"),
        ("hidden_size=10,num_attention_heads=3", "10 is not a multiple of num_attention_heads 3"),
        ("max_position_embeddings=16", "16 is less than max_length 32"),
    ],
)
def test_bad_overrides(overrides, message):
    with pytest.raises(UserError, match=message):
        scratch_config("tiny", overrides, train_tokenizer(TEXTS, 100, 32), 32)
