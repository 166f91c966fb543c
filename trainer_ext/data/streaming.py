"""Training rows that are read from their file again and again and never all in memory (`--streaming`)."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch
from datasets import IterableDataset

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.dataset import columns_of, stream_rows
from trainer_ext.data.io.readers import Row
from trainer_ext.data.row_hash import examples_sha256
from trainer_ext.tasks import Task

BATCH = 1000
FIRST = 10_000  # rows whose labels stand for all of them where a few numbers are drawn from them


class StreamedRows:
    """The rows of the training file, read anew each time they are iterated."""

    def __init__(self, data: DataArguments):
        self.data = data

    def __iter__(self) -> Iterator[Row]:
        return stream_rows(self.data, "train")


class StreamedDataset:
    """Take the place of a `datasets.Dataset` of the training rows.

    Making it reads the file once: every row is checked before the training starts, counted and hashed.
    `["labels"]` are those of the first 10,000 rows (a fresh regression head starts at their scale); `["text"]` can be
    iterated any number of times, for a vocabulary from scratch.
    """

    def __init__(self, data: DataArguments, task: Task):
        self.data, self.task = data, task
        self.rows = 0
        self.labels: list[Any] = []
        self.sha256 = examples_sha256(self._count())

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, column: str) -> Any:
        return {"labels": self.labels, "text": Texts(self)}[column]

    def examples(self) -> Iterator[dict[str, Any]]:
        """Yield one row after another as `build_dataset` has them."""
        rows = iter(StreamedRows(self.data))
        while batch := list(islice(rows, BATCH)):
            columns = columns_of(batch, self.data, self.task)
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))

    def _count(self) -> Iterator[tuple]:
        for example in self.examples():
            self.rows += 1
            labels = example["labels"]
            if "words" in example:
                labels = (labels, example["token_labels"])
            if self.rows <= FIRST:
                self.labels.append(example["labels"])
            yield example.get("words", example["text"]), labels


class Texts:
    """The texts of a streamed data set, read anew each time they are iterated."""

    def __init__(self, dataset: StreamedDataset):
        self.dataset = dataset

    def __iter__(self) -> Iterator[str]:
        return (example["text"] for example in self.dataset.examples())


class TokenStream(torch.utils.data.IterableDataset):
    """Tokenised rows in an order that is a function of (seed, epoch): drawn from a buffer that the file runs through.

    It has a length, so that `Trainer` knows the epochs of a resumed run and skips the batches of the current one only.

    Args:
        dataset: the rows.
        encode: tokenises a batch of columns.
        seed: of the order.
        buffer_size: rows from which the next one is drawn; 1: the order of the file.
    """

    def __init__(
        self,
        dataset: StreamedDataset,
        encode: Callable[[dict], dict],
        seed: int = 0,
        buffer_size: int = FIRST,
    ):
        super().__init__()
        self.rows = len(dataset)
        stream = IterableDataset.from_generator(partial(StreamedDataset.examples, dataset))
        self.stream = stream.shuffle(seed=seed, buffer_size=buffer_size).map(
            encode, batched=True, batch_size=BATCH
        )

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.stream)

    def set_epoch(self, epoch: int) -> None:
        """Draw another order; the data loader calls it at the start of each epoch."""
        self.stream.set_epoch(epoch)
