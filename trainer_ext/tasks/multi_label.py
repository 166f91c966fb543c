"""Any number of labels a text, also none."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.base import Task, sigmoid
from trainer_ext.tasks.calibration import expected_calibration_error, fit_thresholds
from trainer_ext.tasks.label_lists import (
    FLAGS,
    ColumnShape,
    are_flags,
    as_list,
    check_repeats,
    labels_of,
)
from trainer_ext.tasks.label_space import LabelSpace, is_number, normalise

THRESHOLD = 0.5


class MultiLabel(Task):
    """Logits (C,): each class by itself is there (sigmoid above the threshold) or not.

    Labels are one column with a list (of labels, or of a flag for each class), or one 0/1 column per class.
    """

    name = "multi_label"
    default_metric = "f1_macro"
    problem_type = "multi_label_classification"
    takes_lists = True

    @classmethod
    def make_space(
        cls,
        columns: Sequence[str],
        names: Sequence[str] | None,
        rows: Iterable[Sequence],
        separator: str = ",",
    ) -> LabelSpace:
        """Several columns are the classes, which `names` may rename; one column lists them.

        Raises:
            UserError: when there are several columns and not as many names.
        """
        columns = tuple(columns)
        if len(columns) > 1:
            classes = tuple(normalise(name) for name in names or columns)
            if len(classes) != len(columns):
                raise UserError(
                    f"label_names gives {len(classes)} names for {len(columns)} label columns"
                )
            return LabelSpace(columns, classes, classes, separator=separator)
        space = LabelSpace.from_names(columns, names) if names else None
        shape = shape_of((value for (value,) in rows), space, separator)
        flags = shape.flags(len(space.classes) if space else None)
        if space is None:
            space = LabelSpace.from_values(
                columns, map(str, range(flags)) if flags else shape.names
            )
        return LabelSpace(
            columns, space.classes, space.values, separator=separator, flags=bool(flags)
        )

    @property
    def head_shape(self) -> tuple[int, ...]:
        """(classes,)"""
        return (len(self.label_space.classes),)

    @classmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """F1, exact match and ROC-AUC; `f1_<class>` is reported too but its names are known only with the data."""
        return ["f1_micro", "f1_macro", "exact_match", "roc_auc_macro"]

    def encode(self, values: Sequence) -> list[int]:
        """1 for each class that is there, else 0."""
        columns = self.label_space.columns
        if len(columns) > 1:
            return [self.encode_flag(*pair) for pair in zip(columns, values, strict=True)]
        present = {
            self.encode_one(columns[0], label) for label in self.labels_in(columns[0], values[0])
        }
        return [int(k in present) for k in range(len(self.label_space.classes))]

    def labels_in(self, column: str, value: Any) -> list:
        """The labels of one row's list, or of its flags.

        Raises:
            UserError: naming the column and the value.
        """
        if is_whole(value, self.label_space):  # a name may hold the separator
            return [value]
        try:
            labels = labels_of(value, self.label_space.separator)
            if self.label_space.flags:
                return self.flagged(labels)
            if as_list(value) is not None:
                check_repeats(labels)
        except UserError as error:
            raise UserError(f"column {column!r}: {error}") from None
        return labels

    def flagged(self, labels: list) -> list:
        """The classes whose flags are set; a list of names is taken as well.

        Raises:
            UserError: for another number of flags than classes, or other values.
        """
        classes = self.label_space.classes
        if are_flags(labels) and len(labels) == len(classes):
            return [
                name
                for name, flag in zip(classes, labels, strict=True)
                if FLAGS[normalise(flag).lower()]
            ]
        if labels and all(
            is_whole(str(label), self.label_space) and not is_number(str(label)) for label in labels
        ):
            return labels
        raise UserError(
            f"{labels!r:.80} is no list of {len(classes)} flags, 0 or 1, one for each class"
        )

    def join(self, labels: Sequence[str]) -> str:
        """Labels as one cell of csv: the separator between them, or JSON where they would not be read as they are."""
        text, space = self.label_space.separator.join(labels), self.label_space
        try:
            as_written = labels_of(text, space.separator) == list(labels)
        except UserError:
            as_written = False
        if as_written and (len(labels) == 1 or not is_whole(text, space)):
            return text
        return json.dumps(list(labels), ensure_ascii=False)

    def encode_flag(self, column: str, value: Any) -> int:
        """A 0/1 column's value, or a `UserError` naming column and value."""
        try:
            return FLAGS[normalise(value).lower()]
        except KeyError:
            raise UserError(f"column {column!r} has {value!r}; expected 0 or 1") from None

    def is_label(self, value: str) -> bool:
        """Whether every part of a text is a label; so is an empty one."""
        if super().is_label(value):
            return True
        try:
            return all(map(super().is_label, labels_of(value, self.label_space.separator)))
        except UserError:
            return False

    def reduce(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The logits: ROC-AUC is computed from scores."""
        return logits

    def metrics_of(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """f1_micro, f1_macro, f1_<class>, exact_match and roc_auc_macro; labels are 0/1 (N, C)."""
        from trainer_ext.tasks.metrics import ExactMatch, MultiLabelF1, RocAuc

        given = {"predictions": self.predictions(logits), "references": labels}
        scores = MultiLabelF1(self.label_space.classes).compute(**given) | ExactMatch().compute(
            **given
        )
        return scores | RocAuc().compute(predictions=sigmoid(logits), references=labels)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) of 0 and 1."""
        thresholds = np.array(self.calibration.thresholds or THRESHOLD)
        return (self.probabilities(logits, self.calibration.temperature) > thresholds).astype(
            np.int64
        )

    def probabilities(self, logits: np.ndarray, temperature: float) -> np.ndarray:
        """Of each class by itself."""
        return sigmoid(logits / temperature)

    def nll(self, logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
        """Mean binary cross entropy."""
        return float(np.logaddexp(0, np.where(labels == 1, -logits, logits) / temperature).mean())

    def ece(self, logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
        """Expected calibration error over every class of every row."""
        return expected_calibration_error(
            self.probabilities(logits, temperature).ravel(), labels.ravel()
        )

    def fit_decision(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, ...]]:
        """A threshold for each class, for its F1."""
        return {"thresholds": fit_thresholds(sigmoid(logits), labels)}

    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """`{"labels": [...], "probabilities": {class: p}}`, labels in the order of the classes."""
        classes, probabilities = (
            self.label_space.classes,
            self.probabilities(logits, self.calibration.temperature),
        )
        return {
            "labels": [
                name for name, there in zip(classes, self.predictions(logits), strict=True) if there
            ],
            "probabilities": {
                name: round(float(p), 6) for name, p in zip(classes, probabilities, strict=True)
            },
        }


def is_whole(value: Any, space: LabelSpace | None) -> bool:
    """Whether a text is one label of `space` as it stands; no text is where the labels are not known."""
    try:
        return space is not None and isinstance(value, str) and space.encode(value) >= 0
    except KeyError:
        return False


def shape_of(values: Iterable[Any], space: LabelSpace | None, separator: str) -> ColumnShape:
    """What the lists of a column have in common; with known labels only as far as it takes to tell."""
    shape = ColumnShape()
    for value in values:
        if is_whole(value, space):
            shape.only_flags = False
        else:
            shape.add(labels_of(value, separator))
        if space is not None and not shape.only_flags:
            break
    return shape
