"""What a run keeps of its validation rows: the model's outputs, the labels, and a hash of each row.

Folds are joined from them, and runs are compared by them (`comparison/`), without the model and without the texts.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from trainer_ext.data.row_hash import example_line
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_path, read_json, write_json
from trainer_ext.tasks import Task
from trainer_ext.tasks.activations import Array
from trainer_ext.tasks.outputs import ScoredRows

OUTPUTS, HISTORY = "validation_outputs.npz", "history.json"
HASH_BYTES = 16
"""Of a row's sha256: two of a billion rows are alike with a probability of 1e-21."""


class SavedRows(NamedTuple):
    """A model's outputs and the labels of its validation rows, as `compute_metrics` takes them, and hashes (N, 16)."""

    logits: Any
    labels: Any
    hashes: Array


def row_hashes(items: Sequence[Any], labels: Sequence[Any]) -> Array:
    """Return a hash of each row's text (or words) and encoded labels, (N, 16) bytes."""
    hashes = np.zeros((len(items), HASH_BYTES), dtype=np.uint8)
    for k, (item, label) in enumerate(zip(items, labels, strict=True)):
        line = example_line(item, label)
        # Half of a surrogate pair is in some data sets of the hub.
        digest = hashlib.sha256(line.encode("utf-8", "surrogatepass")).digest()
        hashes[k] = np.frombuffer(digest[:HASH_BYTES], dtype=np.uint8)
    return hashes


def save_outputs(folder: Path, task: Task, scored: ScoredRows, hashes: Array) -> None:
    """Save what `load_outputs` and `load_rows` return, rows in order.

    Args:
        folder: of the run.
        task: of the model.
        scored: its outputs and the labels.
        hashes: of `row_hashes`.
    """
    arrays = {"logits": scored["logits"], "labels": scored["labels"], "hashes": hashes}
    if task.token_classes:
        intents, tags = scored["logits"]
        true_intents, true_tags = scored["labels"]
        # (words, tags) of each row are stored end to end: an array of arrays would be a pickle, which runs code.
        lengths = np.array([len(row) for row in tags], dtype=np.int64)
        arrays |= {"logits": intents, "tag_logits": np.concatenate(list(tags)), "lengths": lengths}
        arrays |= {"labels": true_intents, "tag_labels": np.concatenate(list(true_tags))}
    with atomic_path(folder / OUTPUTS) as beside:
        np.savez(beside, **arrays)


def save_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Save the Trainer's log."""
    write_json(folder / HISTORY, history)


def load_outputs(folder: Path, task: Task) -> list[Any]:
    """Return the output of each row, in order, as `task.row_output` gives it.

    Raises:
        UserError: when the file is missing or damaged.
    """
    arrays = read_arrays(folder)
    try:
        logits = list(arrays["logits"])
        if not task.token_classes:
            return logits
        return list(zip(logits, split(arrays, "tag_logits"), strict=True))
    except (KeyError, ValueError) as error:
        raise unreadable(folder, error) from error


def load_rows(folder: Path, task: Task) -> SavedRows:
    """Return the outputs with labels and hashes of the rows.

    Raises:
        UserError: when the file is missing or damaged, or was written before there were hashes in it.
    """
    arrays = read_arrays(folder)
    # Without them only the order could say which row is which, and folds have orders of their own.
    if "hashes" not in arrays:
        raise UserError(
            f"{folder / OUTPUTS} was written by an earlier version, without the rows' hashes: train {folder} again"
        )
    try:
        if not task.token_classes:
            return SavedRows(arrays["logits"], arrays["labels"], arrays["hashes"])
        logits = (arrays["logits"], split(arrays, "tag_logits"))
        labels = (arrays["labels"], split(arrays, "tag_labels"))
        return SavedRows(logits, labels, arrays["hashes"])
    except (KeyError, ValueError) as error:
        raise unreadable(folder, error) from error


def read_arrays(folder: Path) -> dict[str, Array]:
    """Return every array of a model's file.

    Raises:
        UserError: when the file is missing or damaged.
    """
    try:
        # A pickle could run code.
        with np.load(folder / OUTPUTS, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise unreadable(folder, error) from error


def split(arrays: dict[str, Array], name: str) -> list[Array]:
    """Return what was stored end to end row by row."""
    ends = np.cumsum(arrays["lengths"])[:-1]
    return np.split(arrays[name], ends)


def unreadable(folder: Path, error: Exception) -> UserError:
    """Return the error of a file that is missing or damaged."""
    return UserError(
        f"{folder / OUTPUTS} cannot be read ({error}); remove {folder} and run the same command again"
    )


def load_history(folder: Path) -> list[dict[str, Any]]:
    """Return the Trainer's log of a fold; empty if there is none."""
    path = folder / HISTORY
    if not path.is_file():
        return []
    return read_json(path)
