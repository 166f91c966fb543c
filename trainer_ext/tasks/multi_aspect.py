"""A polarity for each of several aspects of a text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.activations import Array
from trainer_ext.tasks.base import Task, class_answer, rounded
from trainer_ext.tasks.figures import Figure, ScoreBars
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tasks.tallies import COUNTS, Metrics, class_counts, f1_of_counts, macro_f1, ratio


class MultiAspect(Task):
    """Logits (A, C): one of C classes for each of A aspects."""

    name = "multi_aspect"
    no_pipeline = (
        "this model answers one label for each aspect: use predict.py or trainer_ext.load_predictor"
    )
    default_metric = "f1_macro"
    calibrations = ("temperature",)
    can_balance = True

    @classmethod
    def check_columns(cls, columns: Sequence[str], given: bool = True) -> None:
        """Raise `UserError` if the aspects are not named."""
        if len(columns) < 2 and not given:
            raise UserError(f"{cls.name} needs --label_columns: one column per aspect")

    @property
    def head_shape(self) -> tuple[int, ...]:
        """(aspects, classes)"""
        return (len(self.label_space.columns), len(self.label_space.classes))

    @classmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """Return means over aspects, exact match, and the macro-F1 of each aspect."""
        by_aspect = [f"f1_macro_{column}" for column in columns]
        return ["accuracy", "f1_macro", "exact_match", *by_aspect]

    def encode(self, values: Sequence[Any]) -> list[int]:
        """Return the class index of each aspect."""
        indices = []
        for column, value in zip(self.label_space.columns, values, strict=True):
            indices.append(self.encode_one(column, value))
        return indices

    def metrics_of(self, reduced: Array, labels: Array) -> dict[str, float]:
        """Return accuracy and f1_macro as means over aspects, exact_match, f1_macro_<aspect>; both are (N, A)."""
        # Here, because `evaluate` and scikit-learn are not part of light inference.
        from trainer_ext.tasks.metrics import F1, Accuracy, ExactMatch

        accuracy = Accuracy().compute(predictions=reduced.ravel(), references=labels.ravel())
        exact_match = ExactMatch().compute(predictions=reduced, references=labels)
        f1 = F1(self.label_space.classes)
        by_aspect: dict[str, float] = {}
        columns = zip(self.label_space.columns, reduced.T, labels.T, strict=True)
        for name, predicted, true in columns:
            scores = f1.compute(predictions=predicted, references=true)
            by_aspect[f"f1_macro_{name}"] = scores["f1_macro"]
        # Each aspect counts the same, however rare some of its classes are.
        aspect_scores = list(by_aspect.values())
        mean = float(np.mean(aspect_scores))
        return {**accuracy, "f1_macro": mean, **exact_match, **by_aspect}

    def tally(self, reduced: Array, labels: Array) -> Array:
        """Return the counts of each class of each aspect, and whether all aspects are right, (N, 3 A C + 2)."""
        counts = class_counts(reduced, labels, len(self.label_space.classes))
        # Of probabilities: that of the predicted classes, if the aspects are independent.
        of_aspects = counts[..., 0].sum(axis=-1)
        is_exact = of_aspects.prod(axis=1, keepdims=True)
        flat = counts.reshape(len(counts), -1)
        return np.hstack([flat, is_exact, np.ones_like(is_exact)])

    def metrics_of_sums(self, sums: Array) -> Metrics:
        """Return accuracy, f1_macro, exact_match, f1_macro_<aspect>, and f1_<aspect>_<class>."""
        aspects, classes = self.head_shape
        counts = sums[:, :-2].reshape(len(sums), aspects, classes, COUNTS)
        both = counts[..., 0].sum(axis=(1, 2))
        true = counts[..., 2].sum(axis=(1, 2))
        by_aspect = macro_f1(counts)
        metrics = {
            "accuracy": ratio(both, true),
            "f1_macro": by_aspect.mean(axis=1),
            "exact_match": sums[:, -2] / sums[:, -1],
        }
        by_class = f1_of_counts(counts)
        for a, aspect in enumerate(self.label_space.columns):
            metrics[f"f1_macro_{aspect}"] = by_aspect[:, a]
            for c, name in enumerate(self.label_space.classes):
                metrics[f"f1_{aspect}_{name}"] = by_class[:, a, c]
        return metrics

    def soft_labels(self, logits: Array) -> Array:
        """Return the probabilities (N, A, C)."""
        return self.probabilities(logits, self.calibration.temperature)

    def predictions(self, logits: Array) -> Array:
        """Return class indices (N, A)."""
        chosen: Array = logits.argmax(axis=-1)
        return chosen

    def probability_columns(self, output: Array) -> dict[str, float]:
        """Return `<aspect>_probability_<class>` of one row's logits (A, C)."""
        probabilities = self.probabilities(output, 1.0)
        return rounded(self.oof_columns(), probabilities.ravel())

    def oof_columns(self) -> list[str]:
        """Return `<aspect>_probability_<class>`, all classes of the first aspect first, as `ravel` has them."""
        columns = []
        for aspect in self.label_space.columns:
            for name in self.label_space.classes:
                columns.append(f"{aspect}_probability_{name}")
        return columns

    def figures(self, scored: ScoredRows) -> list[Figure]:
        """Describe the confusion matrix of all aspects together, and the macro-F1 of each."""
        metrics = scored["metrics"]
        by_aspect = {}
        for aspect in self.label_space.columns:
            by_aspect[aspect] = metrics[f"f1_macro_{aspect}"]
        title = "validation macro-F1 by aspect"
        bars = ScoreBars(by_aspect, metrics["f1_macro"], title, "f1_by_aspect.png")
        return [*super().figures(scored), bars]

    def decode(self, logits: Array) -> dict[str, Any]:
        """Return `{"aspects": {aspect: {"label", "score", "probabilities"}}}`."""
        # Of all aspects at once: most of the time goes into calls of numpy.
        probabilities = self.probabilities(logits, self.calibration.temperature)
        # From the logits as they are: a rounding of the scaled ones could make two classes equal.
        best = self.predictions(logits)
        classes = self.label_space.classes
        aspects = {}
        rows = zip(self.label_space.columns, probabilities, best, strict=True)
        for aspect, row, index in rows:
            aspects[aspect] = class_answer(row, classes, int(index))
        return {"aspects": aspects}
