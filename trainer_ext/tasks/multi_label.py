"""Any number of labels a text, also none."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.base import Task, sigmoid
from trainer_ext.tasks.calibration import expected_calibration_error, fit_thresholds
from trainer_ext.tasks.label_space import LabelSpace, normalise

THRESHOLD = 0.5
FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1}


class MultiLabel(Task):
    """Logits (C,): each class by itself is there (sigmoid above the threshold) or not.

    Labels are one column with a list (JSON, or text with a separator), or one 0/1 column per class.
    """

    name = "multi_label"
    default_metric = "f1_macro"
    problem_type = "multi_label_classification"
    takes_lists = True

    @classmethod
    def make_space(
        cls, columns: Sequence[str], names: Sequence[str] | None, rows: Iterable[Sequence], separator: str = ","
    ) -> LabelSpace:
        """Several columns are the classes, which `names` may rename; one column lists them.

        Raises:
            UserError: when there are several columns and not as many names.
        """
        columns = tuple(columns)
        if len(columns) > 1:
            classes = tuple(normalise(name) for name in names or columns)
            if len(classes) != len(columns):
                raise UserError(f"label_names gives {len(classes)} names for {len(columns)} label columns")
            return LabelSpace(columns, classes, classes, separator=separator)
        if names:
            space = LabelSpace.from_names(columns, names)
        else:
            space = LabelSpace.from_values(columns, (label for (value,) in rows for label in split(value, separator)))
        return LabelSpace(columns, space.classes, space.values, separator=separator)

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
        (value,) = values
        whole = isinstance(value, str) and super().is_label(value)  # a name may hold the separator
        labels = [value] if whole else split(value, self.label_space.separator)
        present = {self.encode_one(columns[0], label) for label in labels}
        return [int(k in present) for k in range(len(self.label_space.classes))]

    def encode_flag(self, column: str, value: Any) -> int:
        """A 0/1 column's value, or a `UserError` naming column and value."""
        try:
            return FLAGS[normalise(value).lower()]
        except KeyError:
            raise UserError(f"column {column!r} has {value!r}; expected 0 or 1") from None

    def is_label(self, value: str) -> bool:
        """Whether every part of a text is a label; so is an empty one."""
        return super().is_label(value) or all(map(super().is_label, split(value, self.label_space.separator)))

    def compute_metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """f1_micro, f1_macro, f1_<class>, exact_match and roc_auc_macro; labels are 0/1 (N, C)."""
        from trainer_ext.tasks.metrics import ExactMatch, MultiLabelF1, RocAuc

        given = {"predictions": self.predictions(logits), "references": labels}
        scores = MultiLabelF1(self.label_space.classes).compute(**given) | ExactMatch().compute(**given)
        return scores | RocAuc().compute(predictions=sigmoid(logits), references=labels)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) of 0 and 1."""
        thresholds = np.array(self.calibration.thresholds or THRESHOLD)
        return (self.probabilities(logits, self.calibration.temperature) > thresholds).astype(np.int64)

    def probabilities(self, logits: np.ndarray, temperature: float) -> np.ndarray:
        """Of each class by itself."""
        return sigmoid(logits / temperature)

    def nll(self, logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
        """Mean binary cross entropy."""
        return float(np.logaddexp(0, np.where(labels == 1, -logits, logits) / temperature).mean())

    def ece(self, logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
        """Expected calibration error over every class of every row."""
        return expected_calibration_error(self.probabilities(logits, temperature).ravel(), labels.ravel())

    def fit_decision(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, ...]]:
        """A threshold for each class, for its F1."""
        return {"thresholds": fit_thresholds(sigmoid(logits), labels)}

    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """`{"labels": [...], "probabilities": {class: p}}`, labels in the order of the classes."""
        classes, probabilities = self.label_space.classes, self.probabilities(logits, self.calibration.temperature)
        return {
            "labels": [name for name, there in zip(classes, self.predictions(logits), strict=True) if there],
            "probabilities": {name: round(float(p), 6) for name, p in zip(classes, probabilities, strict=True)},
        }


def split(value: Any, separator: str) -> list:
    """The labels of one row: a list as it is, `["a", "b"]` as JSON, other text cut at the separator."""
    if isinstance(value, (list, tuple)):
        return list(value)
    text = str(value).strip()
    if text.startswith("["):
        try:
            return list(json.loads(text))
        except json.JSONDecodeError:
            pass  # a name may begin with a bracket
    return [part for part in map(str.strip, text.split(separator)) if part]
