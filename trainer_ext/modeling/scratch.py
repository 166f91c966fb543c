"""An encoder from a config, and a vocabulary trained on the training texts, for machines without a hub."""

import json
from collections import Counter
from collections.abc import Iterable

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BertConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from trainer_ext.errors import UserError
from trainer_ext.modeling.bilstm import BiLstmConfig
from trainer_ext.modeling.overrides import override_config
from trainer_ext.modeling.static import StaticConfig

# tiny, mini and small are the sizes of Google's BERT miniatures; the others TinyBERT's (arXiv:1909.10351, table 1).
SIZES = {
    "tiny": {
        "num_hidden_layers": 2,
        "hidden_size": 128,
        "num_attention_heads": 2,
        "intermediate_size": 512,
    },
    "mini": {
        "num_hidden_layers": 4,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    "small": {
        "num_hidden_layers": 4,
        "hidden_size": 512,
        "num_attention_heads": 8,
        "intermediate_size": 2048,
    },
    "tinybert_4l": {
        "num_hidden_layers": 4,
        "hidden_size": 312,
        "num_attention_heads": 12,
        "intermediate_size": 1200,
    },
    "tinybert_6l": {
        "num_hidden_layers": 6,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}
# Encoders of ours, which are no transformers.
STUDENTS: dict[str, type[BiLstmConfig] | type[StaticConfig]] = {
    "bilstm": BiLstmConfig,
    "static": StaticConfig,
}
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
SUBWORD_PREFIX = "##"


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    max_length: int,
) -> PreTrainedTokenizerFast:
    """Train a lower-casing tokenizer whose vocabulary is a function of the texts alone.

    Each Chinese character is a token of its own; other scripts are split at blanks and punctuation and merged by BPE.
    Characters seen once become `[UNK]`, so that `[UNK]` is trained.

    Args:
        texts: the training texts, which are read twice.
        vocab_size: upper bound on the vocabulary, special tokens included.
        max_length: stored as `model_max_length`.
    """
    # tokenizers trains WordPiece and Unigram differently every time (3725, 3726, 3727 entries from the same file). BPE
    # depends on the order of rare characters only, which is why the alphabet is chosen here.
    normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.BertNormalizer(
                handle_chinese_chars=True, lowercase=True, strip_accents=False
            ),
        ]
    )
    splitter = pre_tokenizers.BertPreTokenizer()
    alphabet = choose_alphabet(texts, vocab_size - len(SPECIAL), normalizer, splitter)
    tokenizer = Tokenizer(train_bpe(texts, alphabet, vocab_size, normalizer, splitter))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece(prefix=SUBWORD_PREFIX)
    tokenizer.add_special_tokens(list(SPECIAL.values()))
    cls_token = SPECIAL["cls_token"]
    sep_token = SPECIAL["sep_token"]
    tokenizer.post_processor = processors.BertProcessing(
        (sep_token, tokenizer.token_to_id(sep_token)),
        (cls_token, tokenizer.token_to_id(cls_token)),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        **{name: AddedToken(token, special=True) for name, token in SPECIAL.items()},
    )


def choose_alphabet(
    texts: Iterable[str],
    room: int,
    normalizer: normalizers.Normalizer,
    splitter: pre_tokenizers.PreTokenizer,
) -> list[str]:
    """Return at most `room` pieces: the commonest characters seen twice or more.

    A character seen inside a word is a piece as `##x`, too.
    """
    counts: Counter[str] = Counter()
    inside_words: set[str] = set()
    for text in texts:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            counts.update(word)
            inside_words.update(word[1:])
    # Equally common ones by code point, and not in the order of a set.
    by_count = sorted(counts, key=lambda character: (-counts[character], character))
    pieces: list[str] = []
    for character in by_count:
        forms = [character]
        if character in inside_words:
            forms.append(SUBWORD_PREFIX + character)
        if counts[character] > 1 and len(pieces) + len(forms) <= room:
            pieces += forms
    return pieces


def train_bpe(
    texts: Iterable[str],
    alphabet: list[str],
    vocab_size: int,
    normalizer: normalizers.Normalizer,
    splitter: pre_tokenizers.PreTokenizer,
) -> models.BPE:
    """Train a BPE model over `alphabet`, the same on every run."""
    options = {"unk_token": SPECIAL["unk_token"], "continuing_subword_prefix": SUBWORD_PREFIX}
    scratch = Tokenizer(models.BPE(**options))
    scratch.normalizer = normalizer
    scratch.pre_tokenizer = splitter
    # The trainer numbers continuing pieces (`##x`) in hash order, and breaks ties between merges by number. Naming the
    # whole alphabet as special tokens fixes the numbers; the model built from the result has no such tokens.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL.values(), *alphabet],
        limit_alphabet=0,
        continuing_subword_prefix=SUBWORD_PREFIX,
        show_progress=False,
    )
    scratch.train_from_iterator(texts, trainer)
    trained = json.loads(scratch.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    return models.BPE(trained["vocab"], merges, **options)


def scratch_config(
    size: str,
    overrides: str | None,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> PretrainedConfig:
    """Return the config of a named student or size, with `name=value,...` overrides.

    Raises:
        UserError: for an override the config does not have, or a value it refuses.
    """
    if size in STUDENTS:
        return student_config(size, overrides, tokenizer)
    config = BertConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=max(512, max_length),
        **SIZES[size],
    )
    override_config(config, overrides)
    if config.num_attention_heads < 1 or config.hidden_size % config.num_attention_heads:
        raise UserError(
            f"config_overrides: hidden_size {config.hidden_size} is not a multiple of "
            f"num_attention_heads {config.num_attention_heads}"
        )
    if config.max_position_embeddings < max_length:
        raise UserError(
            f"config_overrides: max_position_embeddings {config.max_position_embeddings} is less than "
            f"max_length {max_length}"
        )
    return config


def student_config(
    name: str,
    overrides: str | None,
    tokenizer: PreTrainedTokenizerBase,
) -> PretrainedConfig:
    """Return the config of a student, which takes texts of any length, with `name=value,...` overrides.

    Raises:
        UserError: for an override the config does not have, or a value it refuses.
    """
    config = STUDENTS[name](vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    override_config(config, overrides)
    config.check_sizes()
    if config.vocab_size < len(tokenizer):
        raise UserError(
            f"config_overrides: vocab_size {config.vocab_size} is less than the {len(tokenizer)} "
            "tokens of the vocabulary (--vocab_size sets its size)"
        )
    return config
