"""What a process trains on, read from its files once: the task with its classes, and the rows of each split."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.dataset import (
    build_dataset,
    load_parts,
    load_rows,
    training_task,
    with_names,
)
from trainer_ext.data.fold_table import FoldTable
from trainer_ext.data.io.readers import Row
from trainer_ext.data.joint import counted_in
from trainer_ext.data.label_notes import log_label_notes
from trainer_ext.data.streaming import StreamedDataset, StreamedRows
from trainer_ext.tasks import Task

SPLITS = ("train", "validation", "test")

Rows = list[Row] | StreamedRows
Datasets = dict[str, Dataset | StreamedDataset | None]


@dataclass
class TrainingData:
    """Rows by split, and the task whose classes are those of the training rows.

    Attributes:
        flags: how the rows were read.
        task: with its label space.
        rows: of each split that was asked for; empty for a split without a file. `build_datasets` takes them out.
    """

    flags: DataArguments
    task: Task
    rows: dict[str, Rows]

    @property
    def train(self) -> Rows:
        """The training rows."""
        return self.rows["train"]

    @property
    def validation(self) -> list[Row]:
        """The validation rows; empty when there are none, or when they were not asked for."""
        return list(self.rows.get("validation", []))

    def of_fold(self, table: FoldTable, fold: int) -> "TrainingData":
        """Return the part of one fold: validated on its own rows, trained on the others, tested on the same.

        Every fold keeps the classes of all rows, so that the outputs of all folds can be joined.
        """
        rows = list(self.train)
        train = [rows[k] for k in table.training_rows(fold)]
        validation = [rows[k] for k in table.validation_rows(fold)]
        parts = self.rows | {"train": train, "validation": validation}
        return TrainingData(self.flags, counted_in(self.task, train), parts)

    def build_datasets(self) -> Datasets:
        """Encode the labels of every split, and print what looks wrong about the classes; None for no rows.

        Raises:
            UserError: for a row without text or with an unknown label, with file and row.
        """
        training_rows = self.train
        datasets: Datasets = {}
        for split in SPLITS:
            # Taken out, so that rows and data set are not both held in memory while the model trains.
            datasets[split] = build_split(
                self.rows.pop(split, []), self.flags, self.task, named=split == "validation"
            )
        train = datasets["train"]
        log_label_notes(self.task, train["labels"] if train else [], training_rows)
        return datasets


def load_training_data(data: DataArguments, splits: Sequence[str] = SPLITS) -> TrainingData:
    """Read what a process trains on; whoever needs rows in this process is handed the result.

    Args:
        data: where the rows are and how they are read.
        splits: those to read; `train` must be among them.

    Raises:
        UserError: as `load_rows` does, and for labels that make no classes.
    """
    rows = read_splits(data, splits)
    return TrainingData(data, training_task(rows["train"], data), rows)


def read_splits(data: DataArguments, splits: Sequence[str]) -> dict[str, Rows]:
    """Return the rows of each split; with `streaming` the training rows only as something to iterate."""
    rows: dict[str, Rows] = {}
    # The training file holds two splits then: it is read and divided once for both.
    divided = load_parts(data)._asdict() if data.validation_split else {}
    for split in splits:
        if split in divided:
            rows[split] = divided[split]
        elif split == "train" and data.streaming:
            rows[split] = StreamedRows(data)
        else:
            rows[split] = load_rows(data, split)
    return rows


def build_split(
    rows: Rows, data: DataArguments, task: Task, named: bool
) -> Dataset | StreamedDataset | None:
    """Return the data set of a split's rows, if `named` with what a report calls them; None for no rows."""
    if isinstance(rows, StreamedRows):
        return StreamedDataset(data, task)
    if not rows:
        return None
    dataset = build_dataset(rows, data, task)
    return with_names(dataset, rows, data, task) if named else dataset
