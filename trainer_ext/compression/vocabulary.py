"""The stage `vocab`: keep the pieces that a corpus uses, and as many positions as texts are long.

Tokenizer and embeddings are cut together, so that a text whose pieces are kept has the same logits to the bit.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from trainer_ext.compression.tokenizer_json import choose, without_pieces
from trainer_ext.data.preprocessing.plain_checkpoint import POSITIONS_AFTER_PADDING, position_limit
from trainer_ext.data.preprocessing.tokenize import read_words_with_spaces, reset_settings
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.static import StaticConfig

WINDOW = 1000  # texts that are split at once
KEPT_SETTINGS = (
    "model_max_length",
    "model_input_names",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
)

Item = str | Sequence[str]
"""A text, or the words of one."""
Items = Callable[[], Iterable[Item]]
"""Return the texts of a split, each time anew."""


@dataclass(frozen=True)
class Coverage:
    """How many texts of a split are read as before.

    Attributes:
        texts: their number.
        same_texts: share of texts with the same pieces.
        same_tokens: share of tokens whose pieces are kept.
    """

    texts: int
    same_texts: float
    same_tokens: float


@dataclass(frozen=True)
class VocabularyReport:
    """What was cut; the fields are the keys of vocabulary_report.json."""

    pieces_before: int
    pieces_after: int
    positions_before: int | None
    positions_after: int | None
    parameters_before: int
    parameters_after: int
    coverage: dict[str, Coverage]


def prune_vocabulary(
    model: EncoderWithHead,
    tokenizer: PreTrainedTokenizerFast,
    splits: Mapping[str, Items],
    corpus: Iterable[Item],
    limit: int | None,
    max_length: int,
) -> tuple[EncoderWithHead, PreTrainedTokenizerFast, VocabularyReport]:
    """Return a smaller model with its tokenizer, and what was cut.

    Args:
        model: as it was built; it stays as it is.
        tokenizer: of the model.
        splits: texts whose coverage is reported; the pieces of the first are counted.
        corpus: more texts whose pieces are counted.
        limit: most pieces, special tokens included; None: all that are used, and all single characters.
        max_length: tokens that the model reads at most.

    Raises:
        UserError: for a model whose tokens are hashed, and a limit without room for the special tokens.
    """
    if isinstance(model.config.encoder, StaticConfig):
        raise UserError(
            "compression vocab cannot number the tokens of a static model anew: its n-grams are hashed from the numbers"
        )
    if model.config.token_classes:
        read_words_with_spaces(tokenizer)
    backend = tokenizer.backend_tokenizer
    # Whoever padded with it would have its padding counted.
    reset_settings(backend)
    content = json.loads(backend.to_str())
    # The training rows; validation rows must not decide what a model can read.
    counted = next(iter(splits.values()))
    counts = count_pieces(backend, counted()) + count_pieces(backend, corpus)
    kept = choose(content, counts, limit)
    cut_tokenizer = rebuilt(tokenizer, without_pieces(content, kept))
    cut_model = with_rows(model, kept, max_length)
    coverage = {}
    for name, items in splits.items():
        coverage[name] = compare(backend, cut_tokenizer.backend_tokenizer, kept, items())
    report = VocabularyReport(
        backend.get_vocab_size(),
        len(kept),
        position_limit(model.config.encoder.to_dict()),
        position_limit(cut_model.config.encoder.to_dict()),
        model.num_parameters(),
        cut_model.num_parameters(),
        coverage,
    )
    return cut_model, cut_tokenizer, report


def encoded(backend: Tokenizer, items: Iterable[Item]) -> Iterator[list[int]]:
    """Yield the ids of each text, without special tokens and not cut."""
    iterator = iter(items)
    while window := list(islice(iterator, WINDOW)):
        by_word = not isinstance(window[0], str)
        encodings = backend.encode_batch_fast(
            window, is_pretokenized=by_word, add_special_tokens=False
        )
        for encoding in encodings:
            yield encoding.ids


def count_pieces(backend: Tokenizer, items: Iterable[Item]) -> Counter[int]:
    """Count how often texts use each id."""
    counts: Counter[int] = Counter()
    for ids in encoded(backend, items):
        counts.update(ids)
    return counts


def compare(
    before: Tokenizer, after: Tokenizer, kept: Sequence[int], items: Iterable[Item]
) -> Coverage:
    """Split texts with both tokenizers, and count what stays the same."""
    old_ids = dict(enumerate(kept))
    known = set(kept)
    # Read twice, in turns.
    texts = list(items)
    same = tokens = covered = 0
    for old, new in zip(encoded(before, texts), encoded(after, texts), strict=True):
        same += old == [old_ids[number] for number in new]
        tokens += len(old)
        covered += sum(number in known for number in old)
    return Coverage(len(texts), same / max(len(texts), 1), covered / max(tokens, 1))


def rebuilt(tokenizer: PreTrainedTokenizerFast, content: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of transformers around tokenizer.json, with the settings of another one."""
    # A class of its own would read its own files, which still have every piece.
    settings = {name: getattr(tokenizer, name) for name in KEPT_SETTINGS}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content, ensure_ascii=False)),
        **settings,
        **tokenizer.special_tokens_map,
    )


def with_rows(model: EncoderWithHead, kept: Sequence[int], max_length: int) -> EncoderWithHead:
    """Return a model with the kept rows of every table of tokens, and the first ones of its positions.

    Args:
        model: stays as it is.
        kept: ids in ascending order; their new ids are their places.
        max_length: tokens that the model reads at most.
    """
    config = cut_config(cast(EncoderWithHeadConfig, model.config), kept, max_length)
    # Its random numbers are replaced; those that follow must not depend on how many there were.
    with torch.random.fork_rng(devices=[]):
        cut = EncoderWithHead(config)
    expected = cut.state_dict()
    loaded = {}
    for name, weight in model.state_dict().items():
        # Whatever has another size than in the smaller model is a table of tokens or of positions.
        rows = weight
        if weight.shape != expected[name].shape:
            is_of_tokens = len(weight) == model.config.encoder.vocab_size
            rows = weight[torch.tensor(kept)] if is_of_tokens else weight[: len(expected[name])]
        loaded[name] = rows
    cut.load_state_dict(loaded)
    return cut.train(model.training)


def cut_config(
    config: EncoderWithHeadConfig, kept: Sequence[int], max_length: int
) -> EncoderWithHeadConfig:
    """Return a config for fewer tokens and positions, with the new ids of special tokens."""
    config = copy.deepcopy(config)
    encoder = config.encoder
    # The table of a new model is as long as its config says.
    encoder.vocab_size = len(kept)
    longest = position_limit(encoder.to_dict())
    # RoBERTa has two positions more than tokens, which stay.
    if longest is not None and max_length < longest:
        encoder.max_position_embeddings -= longest - max_length
    new_ids = {old: new for new, old in enumerate(kept)}
    before = getattr(encoder, "pad_token_id", None)
    for part in (config, encoder):
        renumber(part, new_ids)
    if encoder.model_type in POSITIONS_AFTER_PADDING and encoder.pad_token_id != before:
        raise UserError(
            f"compression vocab would number the padding token {before} anew, from which {encoder.model_type} counts "
            "its positions"
        )
    if "pad_token_id" in config.pipeline:
        padding = new_ids[config.pipeline["pad_token_id"]]
        config.pipeline = {**config.pipeline, "pad_token_id": padding}
    return config


def renumber(config: PretrainedConfig, new_ids: dict[int, int]) -> None:
    """Give the special tokens that a config names their new ids; None to those that the tokenizer has not."""
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new_ids.get(value))
