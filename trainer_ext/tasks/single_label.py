"""One label a text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.activations import Array
from trainer_ext.tasks.base import Task, class_answer
from trainer_ext.tasks.calibration import Calibration, fit_bias
from trainer_ext.tasks.tallies import COUNTS, Metrics, class_counts, f1_of_counts, macro_f1, ratio


class SingleLabel(Task):
    """Logits (C,): one of C classes."""

    name = "single_label"
    default_metric = "f1_macro"
    problem_type = "single_label_classification"
    # What is called thresholds there is a bias for each class here.
    calibrations = ("temperature", "thresholds", "both")
    can_balance = True
    default_fold_strategy = "stratified"
    answers_by_class = True
    class_key = "label"
    confidence_key = "score"

    @classmethod
    def check_columns(cls, columns: Sequence[str], given: bool = True) -> None:
        """Raise `UserError` for several label columns."""
        if len(columns) != 1:
            raise UserError(
                f"{cls.name} takes one label column, but label_columns names {len(columns)}"
            )

    @classmethod
    def has_one_label(cls, columns: Sequence[str]) -> bool:
        """Return True: the class."""
        return True

    @property
    def head_shape(self) -> tuple[int, ...]:
        """(classes,)"""
        return (len(self.label_space.classes),)

    @classmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """Return accuracy and f1_macro; `f1_<class>` is reported too, but its names are known only with the data."""
        return ["accuracy", "f1_macro"]

    def encode(self, values: Sequence[Any]) -> int:
        """Return the class index of the one label."""
        return self.encode_one(self.label_space.columns[0], values[0])

    def metrics_of(self, reduced: Array, labels: Array) -> dict[str, float]:
        """Return accuracy, f1_macro and f1_<class> from predictions (N,) and labels (N,)."""
        from trainer_ext.tasks.metrics import F1, Accuracy

        given = {"predictions": reduced, "references": labels}
        accuracy = Accuracy().compute(**given)
        f1 = F1(self.label_space.classes).compute(**given)
        return {**accuracy, **f1}

    def tally(self, reduced: Array, labels: Array) -> Array:
        """Return the counts of each class (N, 3 C)."""
        counts = class_counts(reduced, labels, len(self.label_space.classes))
        return counts.reshape(len(counts), -1)

    def metrics_of_sums(self, sums: Array) -> Metrics:
        """Return accuracy, f1_macro and f1_<class>."""
        counts = sums.reshape(len(sums), -1, COUNTS)
        both = counts[..., 0].sum(axis=-1)
        true = counts[..., 2].sum(axis=-1)
        metrics = {"accuracy": ratio(both, true), "f1_macro": macro_f1(counts)}
        by_class = f1_of_counts(counts)
        for index, name in enumerate(self.label_space.classes):
            metrics[f"f1_{name}"] = by_class[:, index]
        return metrics

    def soft_labels(self, logits: Array) -> Array:
        """Return the probabilities (N, C)."""
        return self.probabilities(logits, self.calibration.temperature)

    def predictions(self, logits: Array) -> Array:
        """Return class indices (N,)."""
        # Only then: divided logits may be rounded to the same number, and decide otherwise.
        if self.calibration.bias is not None:
            logits = self.decision_logits(logits / self.calibration.temperature)
        chosen: Array = logits.argmax(axis=-1)
        return chosen

    def decision_logits(self, logits: Array) -> Array:
        """Add the bias of each class."""
        if self.calibration.bias is None:
            return logits
        biased: Array = logits + np.array(self.calibration.bias)
        return biased

    def name_of(self, prediction: Any) -> str:
        """Return the class."""
        return repr(self.label_space.classes[int(prediction)])

    def fit_decision(self, logits: Array, labels: Array) -> Calibration:
        """Return a bias for each class, for macro-F1."""
        return Calibration(bias=fit_bias(logits, labels))

    def decode(self, logits: Array) -> dict[str, Any]:
        """Return `{"label", "score", "probabilities"}`."""
        probabilities = self.probabilities(logits, self.calibration.temperature)
        best = int(self.predictions(logits))
        return class_answer(probabilities, self.label_space.classes, best)
