"""From files (or a hub data set) to labelled `datasets.Dataset`s, every row checked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, TypeVar

from datasets import Dataset

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.class_names import class_names, named
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import (
    check_first_row,
    label_space,
    labelled_rows,
    texts_and_labels,
)
from trainer_ext.data.provenance import originals_only
from trainer_ext.data.row_hash import examples_sha256
from trainer_ext.data.suspects import row_id, row_key, without_confirmed
from trainer_ext.data.validation_split import Parts, split_rows
from trainer_ext.errors import UserError, describe_error
from trainer_ext.tasks import TASKS, Task

Group = TypeVar("Group")

NAMES = ("place", "key", "row_id")
"""Columns with what a report calls the rows."""


def load_rows(data: DataArguments, split: str) -> list[Row]:
    """Return all rows of one split; an empty list for a split without a file.

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
    """Return the rows of the training file, divided by `validation_split`; each part up to its limit.

    Raises:
        UserError: as `split_rows` does, and for a hub data set that has validation rows of its own.
    """
    if data.dataset_name and next(hub_rows(data, "validation"), None) is not None:
        raise UserError(
            f"validation_split {data.validation_split}, but dataset_name {data.dataset_name} has a split 'validation': "
            "drop one"
        )
    parts = split_rows(list(stream_rows(data, "train")), data)
    return Parts(parts.train, parts.validation[: data.max_eval_samples])


def rows_kept_back(data: DataArguments, task: Task, train_data_sha256: str) -> list[Row]:
    """Return the rows that a checkpoint's training kept back by `validation_split`.

    Raises:
        UserError: when the others are not those that the checkpoint was trained on, so that it may have seen these.
    """
    parts = load_parts(data)
    try:
        texts, labels = texts_and_labels(parts.train, data.text_column, task)
        sha256 = examples_sha256(zip(texts, labels, strict=True))
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
    """Return the rows that a checkpoint with this resolved configuration kept back; none without `validation_split`.

    Raises:
        UserError: when they cannot be found any more.
    """
    if not config.get("validation_split"):
        return []
    data = group_from(DataArguments, config)
    data.split_seed = config.get("seed", data.split_seed)
    return rows_kept_back(data, task, train_data_sha256)


def group_from(group: type[Group], config: Mapping[str, Any]) -> Group:
    """Return a group of flags, with those values of a resolved configuration that belong to it."""
    known = {spec.name for spec in fields(group) if spec.init}  # type: ignore[arg-type]  # no bound names a dataclass
    return group(**{name: value for name, value in config.items() if name in known})


def stream_rows(data: DataArguments, split: str) -> Iterator[Row]:
    """Yield the rows of a split that has a file (or comes from the hub), one by one.

    Raises:
        UserError: as `load_rows` does.
    """
    task = TASKS[data.task]
    extra = [data.id_column] if data.id_column else []
    if data.dataset_name:
        source = f"{data.dataset_name}[{split}]"
        needed = [*task.required_columns(data.text_column, data.label_columns), *extra]
        rows = check_first_row(hub_rows(data, split), needed, source)
    else:
        path = getattr(data, f"{split}_file")
        rows = labelled_rows(path, task, data.text_column, data.label_columns, data, extra)
        rows = refuse_empty(rows, path)
    if split != "train":
        rows = originals_only(rows)
    if data.drop_suspects and split != "test":
        rows = without_confirmed(rows, data, split)
    # Test rows are never cut short: their metrics would not compare with anybody else's.
    limits = {"train": data.max_train_samples, "validation": data.max_eval_samples}
    yield from islice(rows, limits.get(split))


def refuse_empty(rows: Iterable[Row], path: str) -> Iterator[Row]:
    """Yield the rows.

    Raises:
        UserError: when there are none.
    """
    is_empty = True
    for row in rows:
        is_empty = False
        yield row
    if is_empty:
        raise UserError(f"{path} is empty: it has no rows")


def training_task(rows: Iterable[Row], data: DataArguments) -> Task:
    """Return the task with the classes that are in the training rows (or named)."""
    kind = TASKS[data.task]
    return kind(label_space(rows, data.label_columns, data.label_names, kind, data.label_separator))


def hub_rows(data: DataArguments, split: str) -> Iterator[Row]:
    """Yield the rows of a split of a hub data set; none if it has no such split.

    Raises:
        UserError: when it cannot be loaded, or has no training rows.
    """
    from datasets import load_dataset

    try:
        splits = load_dataset(data.dataset_name, data.dataset_config_name)
    except Exception as error:  # the hub client raises many unrelated types
        raise UserError(
            f"dataset_name {data.dataset_name} cannot be loaded: {describe_error(error)}"
        ) from error
    if split not in splits:
        if split == "train":
            raise UserError(
                f"dataset_name {data.dataset_name} has no split 'train'; it has {', '.join(splits)}"
            )
        return
    names = class_names(splits[split].features)
    columns = [column for column in data.label_columns if column in names]
    for number, values in enumerate(splits[split], 1):
        labels = {column: named(values[column], names[column]) for column in columns}
        yield Row(values | labels, f"{data.dataset_name}[{split}], row {number}")


def build_dataset(rows: list[Row], data: DataArguments, task: Task) -> Dataset:
    """Return columns `text`, `labels` (and `id` with `id_column`), one row per row, in order.

    If the task reads words there are `words` too, and `token_labels`, one for each word.
    """
    return Dataset.from_dict(columns_of(rows, data, task))


def columns_of(rows: Sequence[Row], data: DataArguments, task: Task) -> dict[str, Sequence]:
    """Return the columns of `build_dataset`, every row checked."""
    texts, labels = texts_and_labels(rows, data.text_column, task)
    columns: dict[str, Sequence] = {"text": texts, "labels": labels}
    if task.reads_words:
        intents, tags = zip(*labels, strict=True)
        columns = {
            "text": [" ".join(words) for words in texts],
            "words": texts,
            "labels": intents,
            "token_labels": tags,
        }
    if data.id_column:
        columns["id"] = [str(row.values.get(data.id_column)) for row in rows]
    return columns


def with_names(dataset: Dataset, rows: Sequence[Row], data: DataArguments, task: Task) -> Dataset:
    """Return the data set with what a report calls its rows: `place`, `key` and `row_id`."""
    columns = task.required_columns(data.text_column, data.label_columns)
    names = {
        "place": [row.where for row in rows],
        "key": [row_key(row, columns) for row in rows],
        "row_id": [row_id(row, data.id_column) for row in rows],
    }
    for name in NAMES:
        dataset = dataset.add_column(name, names[name])
    return dataset


def without_names(dataset: Dataset) -> Dataset:
    """Return the data set without what a report calls its rows, on which nothing else depends."""
    return dataset.remove_columns([name for name in NAMES if name in dataset.column_names])


def inputs_and_labels(dataset: Dataset) -> tuple[list, list]:
    """Return what `texts_and_labels` made the data set from."""
    if "words" not in dataset.column_names:
        return dataset["text"], dataset["labels"]
    return dataset["words"], list(zip(dataset["labels"], dataset["token_labels"], strict=True))


def dataset_sha256(dataset: Any) -> str:
    """Return `examples_sha256` of a data set; a streamed one has hashed its rows while it counted them."""
    if not isinstance(dataset, Dataset):
        return dataset.sha256
    return examples_sha256(zip(*inputs_and_labels(dataset), strict=True))
