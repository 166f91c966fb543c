"""What train.py says about its rows before it trains on them: a few lines, from rows that are in memory."""

import logging
import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trainer_ext.data.duplicates import TextIndex, normalised
from trainer_ext.data.report.lengths import counter_of

logger = logging.getLogger(__name__)

TEXTS_COUNTED = 1000  # texts whose tokens are counted


def log_summary(
    datasets: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> None:
    """Log the rows of each split, what is odd about them, and the share that max_length cuts.

    Texts are compared ignoring case and whitespace. Streamed rows are only counted.

    Args:
        datasets: by split; `train` is one of them, others may be None.
        tokenizer: counts tokens.
        max_length: in tokens.
    """
    sizes = []
    indices = {}
    for split, rows in datasets.items():
        if rows:
            sizes.append(f"{split} {len(rows)}")
        if isinstance(rows, Dataset):
            indices[split] = index_of(rows)
    logger.info("rows: %s", ", ".join(sizes))
    for split, index in indices.items():
        log_repeats(split, index)
    warn_of_shared_texts(indices)
    if isinstance(datasets["train"], Dataset):
        log_cut(datasets["train"], tokenizer, max_length)


def warn_of_shared_texts(indices: Mapping[str, TextIndex]) -> None:
    """Warn of texts that two splits share: a model knows these rows already, and its scores on them are too good.

    Args:
        indices: the texts of each split, by its name.
    """
    for first, second in combinations(indices, 2):
        leaked = indices[first].shared(indices[second])["rows_of_second"]
        if leaked:
            logger.warning(
                "%d rows of %s (%.1f%%) share their text with a row of %s",
                leaked,
                second,
                100 * leaked / indices[second].rows,
                first,
            )


def index_of_texts(texts: Iterable[str]) -> TextIndex:
    """Index texts without looking at labels."""
    index = TextIndex()
    for text in texts:
        index.add(normalised(text), None)
    return index


def log_repeats(split: str, index: TextIndex) -> None:
    """Log how many rows of a split repeat a text, and how many of these texts have more than one label."""
    repeats = index.repeats()
    if not repeats["repeated_rows"]:
        return
    conflicts = ""
    if repeats["conflicting_texts"]:
        conflicts = f", {repeats['conflicting_texts']} texts with different labels"
    logger.info(
        "%d rows of %s repeat the text of another row%s", repeats["repeated_rows"], split, conflicts
    )


def log_cut(train: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Log the share of the training texts that max_length cuts, from about a thousand of them."""
    # Every so many, because files are often sorted by label or by source.
    every = math.ceil(len(train) / TEXTS_COUNTED)
    looked_at = range(0, len(train), every)
    # Words are not read as the text that they make with blanks between them.
    column = "words" if "words" in train.column_names else "text"
    texts = list(train.select(looked_at)[column])
    lengths = counter_of(tokenizer)(texts)
    cut = sum(length > max_length for length in lengths)
    if cut:
        logger.info(
            "max_length %d cuts %.1f%% of the training texts (of %d looked at)",
            max_length,
            100 * cut / len(texts),
            len(texts),
        )


def index_of(dataset: Dataset) -> TextIndex:
    """Index the texts of a split, with all their labels."""
    columns = [dataset["labels"]]
    if "token_labels" in dataset.column_names:
        columns.append(dataset["token_labels"])
    index = TextIndex()
    rows = zip(dataset["text"], *columns, strict=True)
    for text, *labels in rows:
        index.add(normalised(text), labels)
    return index
