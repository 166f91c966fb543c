"""Tokenise texts in batches, and pad ragged rows to batches."""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, is_caching_enabled
from datasets import __version__ as datasets_version
from tokenizers import Encoding, Tokenizer
from tokenizers import __version__ as tokenizers_version
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.token_cache import cached
from trainer_ext.data.preprocessing.truncation import Cutter, Tokens, Truncation
from trainer_ext.data.teacher_outputs import LABELLED, TEACHER_ROW, TeacherOutputs

logger = logging.getLogger(__name__)

TEXTS = ("text", "words", "id")
WORD_NUMBERS = "word_numbers"
"""The column with the number of the word that begins at each token, and `IGNORE` elsewhere."""
NOT_FOR_THE_MODEL = ("length", WORD_NUMBERS, TEACHER_ROW, LABELLED, *TEXTS)
IGNORE = -100  # the label that PyTorch's cross entropy leaves out

Columns = dict[str, list]


def tokenize(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    num_proc: int | None,
    truncation: Truncation = Truncation(),  # noqa: B008 (immutable)
    cleaning: Cleaning = Cleaning(),  # noqa: B008
) -> Dataset:
    """Return the tokenizer's columns (ragged, at most `max_length` tokens) and `length` in tokens instead of the texts.

    If there are `words`, their `token_labels` become labels of tokens: a word's at its first piece, -100 elsewhere.
    The result is kept in a file under the cache of `datasets`, and taken from there if rows, tokenizer and settings
    are the same again.

    Raises:
        UserError: if `max_length` has no room for the truncation's marker.
    """
    settings = {
        "max_length": max_length,
        "truncation": truncation.to_dict(),
        "cleaning": cleaning.to_dict(),
    }
    key = cache_key(dataset, tokenizer, settings)
    # `datasets` would start a process for a single worker as well, and refuses more workers than rows.
    workers = num_proc
    if workers is not None and not 1 < workers <= len(dataset):
        workers = None
    make = partial(
        dataset.map,
        encoder(tokenizer, max_length, truncation, cleaning),
        batched=True,
        num_proc=workers,
        # Left in, they would be written once more into the cache.
        remove_columns=[name for name in TEXTS if name in dataset.column_names],
        desc="tokenising",
        new_fingerprint=key,
    )
    tokens = cached(make, key) if is_caching_enabled() else make(keep_in_memory=True)
    if cleaning.steps:
        note_empty_texts(tokens, tokenizer, cleaning)
    return tokens


def note_empty_texts(
    tokens: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    cleaning: Cleaning,
) -> None:
    """Log how many texts hold nothing but special tokens after cleaning."""
    special = tokenizer.num_special_tokens_to_add()
    empty = sum(length <= special for length in tokens["length"])
    if empty:
        steps = " ".join(cleaning.steps)
        logger.info("clean %s leaves nothing of %d of %d texts", steps, empty, len(tokens))


def encoder(
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    truncation: Truncation = Truncation(),  # noqa: B008 (immutable)
    cleaning: Cleaning = Cleaning(),  # noqa: B008
) -> Callable[[Columns], Columns]:
    """Return the function that tokenises a batch of columns.

    Raises:
        UserError: if `max_length` has no room for the truncation's marker.
    """
    cutter = truncation.cutter(
        max_length,
        tokenizer.num_special_tokens_to_add(),
        lambda marker: tokenizer(marker, add_special_tokens=False)["input_ids"],
    )

    def encode(batch: Columns) -> Columns:
        """Return the new columns of a batch."""
        if "words" in batch:
            columns = encode_words(tokenizer, max_length, cleaning, batch)
        else:
            texts = list(map(cleaning, batch["text"]))
            columns = encode_texts(tokenizer, max_length, cutter, texts)
        reset_settings(tokenizer.backend_tokenizer)
        return {**columns, "length": list(map(len, columns["input_ids"]))}

    return encode


def encode_words(
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    cleaning: Cleaning,
    batch: Columns,
) -> Columns:
    """Return the columns of rows of words, and for each of their tokens a label and the word's number."""
    words = list(map(cleaning.by_word, batch["words"]))
    encoded = tokenizer(words, truncation=True, max_length=max_length, is_split_into_words=True)
    token_labels = []
    word_numbers = []
    for row, labels in enumerate(batch["token_labels"]):
        word_ids = encoded.word_ids(row)
        token_labels.append(label_first_pieces(word_ids, labels))
        # A word may have no token, so that counting labels would not do.
        word_numbers.append(label_first_pieces(word_ids, list(range(len(labels)))))
    return {**encoded, "token_labels": token_labels, WORD_NUMBERS: word_numbers}


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    cutter: Cutter | None,
    texts: list[str],
) -> Columns:
    """Return the columns of texts, cut by `cutter` or by the tokenizer itself."""
    backend = tokenizer.backend_tokenizer
    reset_settings(backend)
    if cutter is None:
        backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    # Not by calling `tokenizer`, which takes as long again to turn the encodings into lists one by one; and `fast`
    # leaves out the offsets, which nothing here reads.
    rows = backend.encode_batch_fast(texts)
    if cutter is not None:
        rows = list(map(cutter, rows))
    return model_columns(rows, tokenizer.model_input_names)


def reset_settings(backend: Tokenizer) -> None:
    """Take back truncation and padding.

    The tokenizer is saved with the model, and its file must not depend on whether the rows came from the cache.
    """
    backend.no_padding()
    backend.no_truncation()


def model_columns(rows: Sequence[Tokens | Encoding], names: Collection[str]) -> Columns:
    """Return the tokenizer's columns called `names`; a list is only made of what is among them."""
    columns = {"input_ids": [row.ids for row in rows]}
    if "token_type_ids" in names:
        columns["token_type_ids"] = [row.type_ids for row in rows]
    if "attention_mask" in names:
        # Rows are padded later, batch by batch, so that here every token counts.
        columns["attention_mask"] = [[1] * len(ids) for ids in columns["input_ids"]]
    return {name: columns[name] for name in names}


def cache_key(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    settings: dict[str, Any],
) -> str:
    """Return a hex digest of all that tokenised rows are a function of: rows, tokenizer, settings, and this file."""
    backend = tokenizer.backend_tokenizer
    # A call leaves its truncation and padding behind, of which the rows are not a function.
    reset_settings(backend)
    content = {
        "rows": dataset._fingerprint,  # of rows in memory this is a hash of their content
        "tokenizer": backend.to_str(),
        "inputs": [list(tokenizer.model_input_names), tokenizer.truncation_side],
        "settings": settings,
        "versions": [datasets_version, tokenizers_version],
        "code": Path(__file__).read_text(encoding="utf-8"),
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class ModelTexts:
    """The texts of a data set as the model reads them, to iterate any number of times: a vocabulary is trained on them.

    Args:
        dataset: a `Dataset` or a streamed data set, with `text` or `words`.
        cleaning: what the model's texts go through.
        more: another data set, whose texts come after the others; None for none.
    """

    def __init__(self, dataset: Any, cleaning: Cleaning, more: Any = None):
        self.datasets = [dataset] if more is None else [dataset, more]
        self.cleaning = cleaning

    def items(self) -> Iterator[str | Sequence[str]]:
        """Yield each text, or its words, as the tokenizer is given them."""
        for dataset in self.datasets:
            # A streamed data set has no columns' names: its texts are words joined by spaces already.
            if "words" in getattr(dataset, "column_names", ()):
                yield from map(self.cleaning.by_word, dataset["words"])
            else:
                yield from map(self.cleaning, dataset["text"])

    def __iter__(self) -> Iterator[str]:
        for item in self.items():
            yield item if isinstance(item, str) else " ".join(item)


def label_first_pieces(word_ids: list[int | None], labels: list[int]) -> list[int]:
    """Return a label for each piece, from one for each word.

    Args:
        word_ids: for each piece the number of its word, None for special tokens.
        labels: one for each word.

    Returns:
        A word's label at its first piece, `IGNORE` elsewhere.
    """
    previous = None
    piece_labels = []
    for word in word_ids:
        if word is None or word == previous:
            piece_labels.append(IGNORE)
        else:
            piece_labels.append(labels[word])
        previous = word
    return piece_labels


def read_words_with_spaces(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a byte-level tokenizer take a list of words as the words of a text, each with the space before it."""
    pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    if isinstance(pre_tokenizer, ByteLevel):
        pre_tokenizer.add_prefix_space = True
        tokenizer.add_prefix_space = True


@dataclass
class Collator:
    """Pads a batch to its longest row (dynamic padding) and stacks the labels; labels of tokens are padded too.

    Rows with a `TEACHER_ROW` also get the teacher's values, `teacher_labels` (B, ..., C), and for tags of words
    `teacher_token_labels` (B, length, C): at the first piece of each word, NaN elsewhere. If some rows have no labels,
    `is_labelled` (B,) tells which have.

    Args:
        tokenizer: knows how to pad.
        teacher: what the teacher answers to the training rows.
    """

    tokenizer: PreTrainedTokenizerBase
    teacher: TeacherOutputs | None = None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        labels = {"labels": torch.tensor([row["labels"] for row in rows])}
        inputs = [model_inputs(row) for row in rows]
        batch = pad_without_fast_tokenizer_warning(
            self.tokenizer, inputs, padding_side="right", return_tensors="pt"
        )
        if "token_labels" in rows[0]:
            padded = torch.full(batch["input_ids"].shape, IGNORE)
            for row, values in enumerate(rows):
                padded[row, : len(values["token_labels"])] = torch.tensor(values["token_labels"])
            labels["token_labels"] = padded
        if self.teacher is not None and TEACHER_ROW in rows[0]:
            labels |= teacher_values(self.teacher, rows, batch["input_ids"].shape[1])
        if LABELLED in rows[0]:
            labels[LABELLED] = torch.tensor([row[LABELLED] for row in rows])
        return {**batch, **labels}


def teacher_values(
    teacher: TeacherOutputs,
    rows: list[dict[str, Any]],
    length: int,
) -> dict[str, torch.Tensor]:
    """Return the teacher's values for a batch padded to `length` tokens.

    Words are found by their number in the row: teacher and student may have different tokenizers.
    """
    numbers = [row[TEACHER_ROW] for row in rows]
    values = {"teacher_labels": torch.from_numpy(teacher.of_rows(numbers))}
    if not teacher.word_classes:
        return values
    tokens = torch.full((len(rows), length, teacher.word_classes), float("nan"))
    for position, row in enumerate(rows):
        words = torch.tensor(row[WORD_NUMBERS])
        is_first = words != IGNORE
        of_words = teacher.of_words(row[TEACHER_ROW], words[is_first].tolist())
        tokens[position, : len(words)][is_first] = torch.from_numpy(of_words)
    return values | {"teacher_token_labels": tokens}


def model_inputs(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that the tokenizer pads."""
    others = ("labels", "token_labels", *NOT_FOR_THE_MODEL)
    return {name: value for name, value in row.items() if name not in others}
