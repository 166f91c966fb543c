"""Answers in the columns of a sample submission, as competitions hand it out: `id,label`, or a column a class."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from trainer_ext.data.io.readers import DEFAULTS, Row, join_names, read_rows
from trainer_ext.errors import UserError
from trainer_ext.tasks import Task


class Submission:
    """Answers as rows of a sample's columns.

    The first column of the sample names the row. Each of the others is a label column (an aspect, a target), or a
    class, whose cells are probabilities where the sample has fractions there, else 0 and 1. Where there is one other
    column and the task has one label column, they are the same, whatever they are called.

    Args:
        path: the sample: csv, tsv, jsonl or parquet.
        task: of the model.

    Raises:
        UserError: for a sample without rows, and for a column that the model does not answer.
    """

    def __init__(self, path: str, task: Task):
        self.path, self.task = path, task
        rows = list(read_rows(path, options=DEFAULTS))
        if not rows or len(rows[0].values) < 2:
            raise UserError(
                f"{path} is no sample submission: expected rows with an id column and others behind it"
            )
        self.id_column, *self.columns = rows[0].values
        self.rows = len(rows)
        self.cells = {name: self.writer_of(name, rows) for name in self.columns}

    def writer_of(self, name: str, rows: Sequence[Row]) -> Callable[[dict[str, Any]], Any]:
        """The function from an answer to this column's cell."""
        space = self.task.label_space
        columns = space.columns
        flags = self.task.takes_lists and len(columns) > 1  # a 0/1 column for each class
        if name in columns and not flags:
            return partial(label_in, column=name, task=self.task)
        by_class = (
            dict(zip(space.classes, space.classes, strict=True))
            if self.task.answers_by_class
            else {}
        )
        by_class |= dict(zip(columns, space.classes, strict=True)) if flags else {}
        if name in by_class:
            fractions = any("." in str(row.values[name]) for row in rows)
            return partial(probability_of if fractions else is_chosen, name=by_class[name])
        if len(self.columns) == len(columns) == 1:
            return partial(label_in, column=columns[0], task=self.task)
        raise UserError(
            f"{self.path}: column {name!r} is nothing that the model answers; it has the label columns "
            f"{join_names(columns)}"
            + (f" and the classes {join_names(by_class)}" if by_class else "")
        )

    def write(self, answers: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Rows of the submission, in the order of the answers.

        Raises:
            UserError: at the end, when there are more or fewer than in the sample.
        """
        written = 0
        for answer in answers:
            written += 1
            yield {self.id_column: answer[self.id_column]} | {
                name: cell(answer) for name, cell in self.cells.items()
            }
        if written != self.rows:
            raise UserError(f"{self.path} has {self.rows} rows, but there are {written} answers")


def probability_of(answer: dict[str, Any], name: str) -> float:
    """Of one class."""
    return answer["probabilities"][name]


def is_chosen(answer: dict[str, Any], name: str) -> int:
    """1 where the answer is this class, or has it among others."""
    return int(name in answer["labels"] if "labels" in answer else name == answer["label"])


def label_in(answer: dict[str, Any], column: str, task: Task) -> Any:
    """What an answer says of a label column, in the words (and numbers) of the training file."""
    if "scores" in answer:
        return answer["scores"][column]
    if "intent" in answer:
        return answer["intent"]
    values = dict(zip(task.label_space.classes, task.label_space.values, strict=True))
    if task.label_space.flags:
        return json.dumps([is_chosen(answer, name) for name in task.label_space.classes])
    if "labels" in answer:
        return task.join([values[name] for name in answer["labels"]])
    label = answer["aspects"][column]["label"] if "aspects" in answer else answer["label"]
    return values[label]
