"""The training rows that baselines are fitted on."""

from collections.abc import Iterable, Mapping
from typing import Any

from datasets import Dataset

from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import inputs_and_labels
from trainer_ext.data.streaming import StreamedDataset
from trainer_ext.evaluation.baselines import TrainingRows, some_rows
from trainer_ext.tasks import Task


def rows_for_baselines(
    args: Arguments, task: Task, train: Dataset | StreamedDataset
) -> TrainingRows:
    """Return some of the training rows; a streamed file is read once more."""
    examples: Iterable[tuple[Any, Any]]
    # It is in no memory to be taken from.
    if isinstance(train, StreamedDataset):
        examples = map(as_pair, train.examples())
    else:
        examples = zip(*inputs_and_labels(train), strict=True)
    return some_rows(examples, len(train), task, args.training.baseline_rows)


def as_pair(example: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return input and labels of a streamed row."""
    if "words" in example:
        return example["words"], (example["labels"], example["token_labels"])
    return example["text"], example["labels"]
