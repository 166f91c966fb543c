"""From files (or a hub data set) to labelled `datasets.Dataset`s, every row checked."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import chain, islice
from typing import Any

from datasets import Dataset

from trainer_ext.arguments.groups import DataArguments
from trainer_ext.data.class_names import class_names, named
from trainer_ext.data.io.readers import Row, require_columns
from trainer_ext.data.labelled import label_space, labelled_rows, texts_and_labels
from trainer_ext.data.provenance import originals_only
from trainer_ext.data.validation_split import Parts, split_rows
from trainer_ext.errors import UserError, describe_error
from trainer_ext.tasks import TASKS, Task


def load_rows(data: DataArguments, split: str) -> list[Row]:
    """All rows of one split; an empty list when it is not given.

    Raises:
        UserError: for an empty file or a missing column, before any row is used; for rows to evaluate on that were made
            from others.
    """
    if data.validation_split and split != "test":
        return getattr(load_parts(data), split)
    if not data.dataset_name and not getattr(data, f"{split}_file"):
        return []
    return list(stream_rows(data, split))


def load_parts(data: DataArguments) -> Parts:
    """The rows of the training file, of which `validation_split` keeps a share back; each part up to its limit.

    Raises:
        UserError: as `split_rows`, and for a hub data set that has validation rows of its own.
    """
    if data.dataset_name and next(hub_rows(data, "validation"), None) is not None:
        raise UserError(
            f"validation_split {data.validation_split}, but dataset_name {data.dataset_name} has a split 'validation': "
            "drop one"
        )
    parts = split_rows(list(stream_rows(data, "train")), data)
    return Parts(parts.train, parts.validation[: data.max_eval_samples])


def rows_kept_back(data: DataArguments, task: Task, train_data_sha256: str) -> list[Row]:
    """The rows that a checkpoint's training kept back by `validation_split`.

    Raises:
        UserError: when the others are not those that the checkpoint was trained on, so that it may have seen these.
    """
    parts = load_parts(data)
    try:
        sha256 = hash_of(zip(*texts_and_labels(parts.train, data.text_column, task), strict=True))
    except UserError:  # labels that the checkpoint does not know
        sha256 = ""
    if sha256 != train_data_sha256:
        raise UserError(
            f"validation_split {data.validation_split} of {data.train_file or data.dataset_name} (seed "
            f"{data.split_seed}): the model was not trained on the other rows. Give the rows, flags and seed of its "
            "training, or rows of their own (validation_file; --eval_file of export.py)"
        )
    return parts.validation


def recorded_rows(config: dict[str, Any], task: Task, train_data_sha256: str) -> list[Row]:
    """The rows that a checkpoint with this resolved configuration kept back; none where it has another validation.

    Raises:
        UserError: when they cannot be found any more.
    """
    if not config.get("validation_split"):
        return []
    known = {spec.name for spec in fields(DataArguments) if spec.init}
    data = DataArguments(**{key: value for key, value in config.items() if key in known})
    data.split_seed = config.get("seed", data.split_seed)
    return rows_kept_back(data, task, train_data_sha256)


def stream_rows(data: DataArguments, split: str) -> Iterator[Row]:
    """The same one by one, for a split that is given."""
    path, task = getattr(data, f"{split}_file"), TASKS[data.task]
    if data.dataset_name:
        source, rows = f"{data.dataset_name}[{split}]", hub_rows(data, split)
    else:
        source, rows = path, labelled_rows(path, task, data.text_column, data.label_columns, data)
    if split != "train":
        rows = originals_only(rows)
    first = next(rows, None)
    if first is None and not data.dataset_name:
        raise UserError(f"{source} is empty: it has no rows")
    if first is not None:
        needed = task.required_columns(data.text_column, data.label_columns)
        require_columns(first, [*needed, *filter(None, [data.id_column])], source)
        limits = {
            "train": data.max_train_samples,
            "validation": data.max_eval_samples,
        }  # never of test rows
        yield from islice(chain([first], rows), limits.get(split))


def training_task(rows: Iterable[Row], data: DataArguments) -> Task:
    """The task, with the classes that are in the training rows (or named)."""
    kind = TASKS[data.task]
    return kind(label_space(rows, data.label_columns, data.label_names, kind, data.label_separator))


def hub_rows(data: DataArguments, split: str) -> Iterator[Row]:
    """Rows of a split of a hub data set; none when it has no such split."""
    from datasets import load_dataset

    try:
        splits = load_dataset(data.dataset_name, data.dataset_config_name)
    except Exception as error:  # the hub client raises many unrelated types
        raise UserError(
            f"dataset_name {data.dataset_name} cannot be loaded: {describe_error(error)}"
        ) from error
    if split == "train" and split not in splits:
        raise UserError(
            f"dataset_name {data.dataset_name} has no split 'train'; it has {', '.join(splits)}"
        )
    if split not in splits:
        return
    names = class_names(splits[split].features)
    for number, values in enumerate(splits[split], 1):
        labels = {
            column: named(values[column], names[column])
            for column in data.label_columns
            if column in names
        }
        yield Row(values | labels, f"{data.dataset_name}[{split}], row {number}")


def build_dataset(rows: list[Row], data: DataArguments, task: Task) -> Dataset:
    """Columns `text`, `labels` (and `id` with `id_column`), one row per row, in order.

    Where the task reads words there are `words` too, and `token_labels`, one for each word.
    """
    return Dataset.from_dict(columns_of(rows, data, task))


def columns_of(rows: Sequence[Row], data: DataArguments, task: Task) -> dict[str, Sequence]:
    """The columns of `build_dataset`, every row checked."""
    texts, labels = texts_and_labels(rows, data.text_column, task)
    columns = {"text": texts, "labels": labels}
    if task.reads_words:
        intents, tags = zip(*labels, strict=True)
        columns = {
            "text": [" ".join(t) for t in texts],
            "words": texts,
            "labels": intents,
            "token_labels": tags,
        }
    if data.id_column:
        columns["id"] = [str(row.values.get(data.id_column)) for row in rows]
    return columns


def inputs_and_labels(dataset: Dataset) -> tuple[list, list]:
    """What `texts_and_labels` made the data set from."""
    if "words" not in dataset.column_names:
        return dataset["text"], dataset["labels"]
    return dataset["words"], list(zip(dataset["labels"], dataset["token_labels"], strict=True))


def data_hash(dataset: Dataset) -> str:
    """sha256 over texts and labels in order: equal for equal training data, wherever it is stored."""
    if not isinstance(dataset, Dataset):
        return dataset.sha256  # a streamed one counted and hashed its rows in one go
    return hash_of(zip(*inputs_and_labels(dataset), strict=True))


def hash_of(pairs: Iterable[tuple]) -> str:
    """The same over (text, labels) pairs."""
    digest = hashlib.sha256()
    for text, labels in pairs:
        digest.update(f"{text}\x1f{labels}\x1e".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
