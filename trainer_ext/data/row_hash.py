"""The one hash of rows: how a checkpoint, a fold file and a list of seeds recognise the rows they were made from.

Each row is a line of what its reader depends on. A model depends on texts and encoded labels (`train_data_sha256` in a
checkpoint's config); a division into folds on ids, groups, sources and labels as they are written, before there are
classes to encode them (`data_sha256` in folds.json, `train_sha256` in seeds.json).
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import raw_label
from trainer_ext.data.provenance import made_from
from trainer_ext.tasks import Task
from trainer_ext.tasks.joint_space import UNSEEN

# The forms of the lines are recorded in every checkpoint and fold folder: with another, none could be resumed.


def rows_sha256(lines: Iterable[str]) -> str:
    """Return the sha256 over lines in order."""
    digest = hashlib.sha256()
    for line in lines:
        # Half of a surrogate pair is refused by the readers, but not by every hub data set.
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def examples_sha256(examples: Iterable[tuple[Any, Any]]) -> str:
    """Return the hash of what a model learns from: (text, encoded labels) pairs, wherever they are stored."""
    numbers: dict[int, int] = {}

    def line(text: Any, labels: Any) -> str:
        # Pairs of an intent and tags.
        if isinstance(labels, tuple):
            labels = renumbered(labels, numbers)
        return example_line(text, labels)

    return rows_sha256(line(text, labels) for text, labels in examples)


def example_line(text: Any, labels: Any) -> str:
    """Return what is hashed of one (text, encoded labels) pair."""
    return f"{text}\x1f{labels}\x1e"


# Of a row of words: the intent, and the tag of each word.
IntentAndTags = tuple[int, list[int]]


def renumbered(labels: IntentAndTags, numbers: dict[int, int]) -> IntentAndTags:
    """Renumber the labels that no training row has by their order, as checkpoints of version 0.1 have hashed them."""

    def number(label: int) -> int:
        if label > UNSEEN:
            return label
        return UNSEEN - numbers.setdefault(label, len(numbers))

    intent, tags = labels
    # The intent is numbered before its tags.
    return number(intent), [number(tag) for tag in tags]


def raw_rows_sha256(
    rows: Iterable[Row],
    ids: Iterable[str],
    data: DataArguments,
    task: Task,
    group_column: str | None = None,
) -> str:
    """Return the hash of what folds depend on: ids, texts, labels as written, groups and sources."""
    inputs = task.fixed_columns or (data.text_column,)
    labels = () if task.fixed_columns else data.label_columns

    def line(name: str, row: Row) -> str:
        parts: list[Any] = [name]
        parts += [row.values.get(column) for column in inputs]
        parts += [raw_label(row, column, task) for column in labels]
        parts.append(row.values.get(group_column) if group_column else None)
        parts.append(made_from(row))
        return json.dumps(parts, default=str) + "\n"

    return rows_sha256(line(name, row) for name, row in zip(ids, rows, strict=True))
