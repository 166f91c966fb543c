"""Any number of labels a text, also none."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.files import json_text
from trainer_ext.tasks.activations import sigmoid
from trainer_ext.tasks.base import SMALLEST_PROBABILITY, Task
from trainer_ext.tasks.calibration import expected_calibration_error, fit_thresholds
from trainer_ext.tasks.figures import Figure, ScoreBars
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
    loss_family = "binary_cross_entropy"
    calibrations = ("temperature", "thresholds", "both")
    can_balance = True
    answers_by_class = True

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

    def strata_flags(self, labels: Sequence) -> np.ndarray:
        """Return the flags (N, C) themselves."""
        return np.asarray(labels)

    @classmethod
    def classes_to_balance(cls, labels: Sequence) -> np.ndarray:
        """Return (N, C + 1): 0 for a class that is set, else -1; the last column is of rows without any class."""
        flags = np.asarray(labels).astype(bool)
        none = ~flags.any(axis=1, keepdims=True)
        # One byte each: a million rows of hundreds of classes have to fit in memory.
        return np.hstack([flags, none]).astype(np.int8) - np.int8(1)

    def count_labels(self, labels: np.ndarray) -> np.ndarray:
        """Return how often each class is set, (C,)."""
        return labels.sum(axis=0)

    def to_columns(self, output: np.ndarray, as_list: bool = False) -> dict[str, Any]:
        """Write a 0/1 column for each class, or one column with flags, a list or joined names."""
        space = self.label_space
        flags = self.predictions(output[None])[0].tolist()
        if len(space.columns) > 1:
            return dict(zip(space.columns, flags, strict=True))
        (column,) = space.columns
        if space.flags:
            return {column: json_text(flags)}
        chosen = [value for value, flag in zip(space.values, flags, strict=True) if flag]
        return {column: json_text(chosen) if as_list else self.join(chosen)}

    def from_ensemble_values(self, values: np.ndarray) -> np.ndarray:
        """Return the logits whose sigmoid these probabilities are."""
        p = values.clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        return np.log(p) - np.log1p(-p)

    def decision_logits(self, logits: np.ndarray) -> np.ndarray:
        """Move each class's threshold to 0.5."""
        if self.calibration.thresholds is None:
            return logits
        return logits - self.from_ensemble_values(np.array(self.calibration.thresholds))

    def votes(self, logits: np.ndarray) -> np.ndarray:
        """Return the predictions, which are 0 and 1 already."""
        return self.predictions(logits)

    def class_pairs(self, labels: Any, logits: Any) -> None:
        """Return None: a row may have several classes."""

    def figures(
        self, labels: np.ndarray, logits: np.ndarray, metrics: Mapping[str, float]
    ) -> list[Figure]:
        """Describe the F1 of each class."""
        by_class = {name: metrics[f"f1_{name}"] for name in self.label_space.classes}
        title = "validation F1 by class"
        return [ScoreBars(by_class, metrics["f1_macro"], title, "f1_by_class.png")]

    @property
    def example_columns(self) -> tuple[str, ...]:
        """One column of names, whatever columns they were read from."""
        return ("labels",)

    def readable(self, labels: np.ndarray) -> list[str]:
        """Return the names of the classes that are set, joined."""
        flagged = zip(self.label_space.classes, labels, strict=True)
        return [", ".join(name for name, flag in flagged if flag)]

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
