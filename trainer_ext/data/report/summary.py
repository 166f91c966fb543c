"""What train.py says about its rows before it trains on them: a few lines, from rows that are in memory."""

from collections.abc import Iterator, Mapping
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trainer_ext.data.duplicates import TextIndex, normalised
from trainer_ext.data.report.lengths import counter_of

LOOKED_AT = 1000  # texts whose tokens are counted


def print_summary(
    datasets: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> None:
    """Rows of each split, and what is odd about them."""
    print("\n".join(summary_lines(datasets, tokenizer, max_length)), flush=True)


def summary_lines(
    datasets: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[str]:
    """The lines: rows; repeated texts and texts shared by splits; the share that max_length cuts.

    Texts are the same after folding case and white space. Streamed rows are only counted.
    """
    yield "rows: " + ", ".join(f"{split} {len(rows)}" for split, rows in datasets.items() if rows)
    indices = {
        split: index_of(rows) for split, rows in datasets.items() if isinstance(rows, Dataset)
    }
    for split, index in indices.items():
        repeats = index.repeats()
        if repeats["repeated_rows"]:
            labels = f", {repeats['conflicting_texts']} texts with different labels" * bool(
                repeats["conflicting_texts"]
            )
            yield f"note: {split} repeats texts in {repeats['repeated_rows']} rows{labels}"
    names = list(indices)
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            rows = indices[first].shared(indices[second])["rows_of_second"]
            if rows:
                share = rows / indices[second].rows
                yield f"warning: {rows} rows of {second} ({share:.1%}) have a text that is in {first} too"
    if isinstance(datasets["train"], Dataset):
        every = -(-len(datasets["train"]) // LOOKED_AT)
        texts = datasets["train"].select(range(0, len(datasets["train"]), every))["text"]
        cut = sum(length > max_length for length in counter_of(tokenizer)(list(texts))) / len(texts)
        if cut:
            yield f"note: max_length {max_length} cuts {cut:.1%} of the training texts (of {len(texts)} looked at)"


def index_of(dataset: Dataset) -> TextIndex:
    """The texts of a split."""
    index = TextIndex()
    columns = [
        dataset["labels"],
        *([dataset["token_labels"]] if "token_labels" in dataset.column_names else []),
    ]
    for text, *labels in zip(dataset["text"], *columns, strict=True):
        index.add(normalised(text), labels)
    return index
