"""Answers in the columns of a sample submission, as competitions publish it: `id,label`, or a column a class."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from trainer_ext.data.io.readers import DEFAULTS, Row, join_names, read_rows
from trainer_ext.errors import UserError
from trainer_ext.inference.predictor import Answer
from trainer_ext.tasks import Task

CellReader = Callable[[Answer], Any]


class Submission:
    """Answers as rows of a sample's columns.

    The first column of the sample names the row. Each of the others is a label column (an aspect, a target), or a
    class, whose cells are probabilities if the sample has fractions there, else 0 and 1. If there is one other column
    and the task has one label column, they are the same, whatever they are called.

    Args:
        path: the sample: csv, tsv, jsonl or parquet.
        task: of the model.

    Raises:
        UserError: for a sample without rows, and for a column that the model does not answer.
    """

    def __init__(self, path: str, task: Task):
        self.path = path
        self.task = task
        rows = list(read_rows(path, options=DEFAULTS))
        columns = list(rows[0].values) if rows else []
        if len(columns) < 2:
            raise UserError(
                f"{path} is not a sample submission: expected rows with an id column and others after it"
            )
        self.id_column, *self.columns = columns
        self.rows = len(rows)
        self.cells: dict[str, CellReader] = {}
        for name in self.columns:
            self.cells[name] = self._cell_reader(name, rows)

    def _cell_reader(self, name: str, rows: Sequence[Row]) -> CellReader:
        """Return the function that reads this column's cell from an answer."""
        label_columns = self.task.label_space.columns
        # A 0/1 column for each class: its name stands for the class, not for all labels of the row.
        columns_are_classes = self.task.takes_lists and len(label_columns) > 1
        if name in label_columns and not columns_are_classes:
            return partial(label_of, column=name, task=self.task)
        by_class = self._class_columns(columns_are_classes)
        if name in by_class:
            # Samples of competitions scored by probabilities have 0.5 or 0.33 in every row.
            has_fractions = any("." in str(row.values[name]) for row in rows)
            read_cell = probability_of if has_fractions else is_chosen
            return partial(read_cell, name=by_class[name])
        if len(self.columns) == len(label_columns) == 1:
            return partial(label_of, column=label_columns[0], task=self.task)
        known = f"the label columns {join_names(label_columns)}"
        if by_class:
            known += f" and the classes {join_names(by_class)}"
        raise UserError(
            f"{self.path}: column {name!r} is not something that the model answers; it has {known}"
        )

    def _class_columns(self, columns_are_classes: bool) -> dict[str, str]:
        """Return the class that each possible column of a class stands for."""
        space = self.task.label_space
        by_class: dict[str, str] = {}
        if self.task.answers_by_class:
            by_class.update(zip(space.classes, space.classes, strict=True))
        if columns_are_classes:
            by_class.update(zip(space.columns, space.classes, strict=True))
        return by_class

    def write(self, answers: Iterable[Answer], before: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the rows of the submission, in the order of the answers.

        Args:
            answers: one for each row.
            before: rows that an interrupted run has written, which the answers come behind.

        Raises:
            UserError: at the end, if there are more or fewer than in the sample.
        """
        # Counted, because a competition refuses a file with a row more or less without saying which.
        written = before
        for answer in answers:
            written += 1
            row = {self.id_column: answer[self.id_column]}
            for name, read_cell in self.cells.items():
                row[name] = read_cell(answer)
            yield row
        if written != self.rows:
            sample = "1 row" if self.rows == 1 else f"{self.rows} rows"
            answered = "1 answer" if written == 1 else f"{written} answers"
            raise UserError(f"{self.path} has {sample}, but {answered} were given")


def probability_of(answer: Answer, name: str) -> float:
    """Return the probability of one class."""
    return float(answer["probabilities"][name])


def is_chosen(answer: Answer, name: str) -> int:
    """Return 1 if the answer is this class, or has it among others; else 0."""
    if "labels" in answer:
        return int(name in answer["labels"])
    return int(name == answer["label"])


def label_of(answer: Answer, column: str, task: Task) -> Any:
    """Return what an answer has for a label column, in the words (and numbers) of the training file."""
    if "scores" in answer:
        return answer["scores"][column]
    if "intent" in answer:
        return answer["intent"]
    space = task.label_space
    if space.flags:
        # The training file has a list of 0 and 1 in the column.
        flags = [is_chosen(answer, name) for name in space.classes]
        return json.dumps(flags)
    values = dict(zip(space.classes, space.values, strict=True))
    if "labels" in answer:
        labels = [values[name] for name in answer["labels"]]
        return task.join(labels)
    if "aspects" in answer:
        answer = answer["aspects"][column]
    return values[answer["label"]]
