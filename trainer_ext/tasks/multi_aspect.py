"""A polarity for each of several aspects of a text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks.base import Task, class_answer
from trainer_ext.tasks.figures import Figure, ScoreBars


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
        """Means over aspects, exact match, and macro-F1 of each aspect."""
        return [
            "accuracy",
            "f1_macro",
            "exact_match",
            *(f"f1_macro_{column}" for column in columns),
        ]

    def encode(self, values: Sequence[str]) -> list[int]:
        """Class index for each aspect."""
        return [
            self.encode_one(*pair) for pair in zip(self.label_space.columns, values, strict=True)
        ]

    def metrics_of(self, predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """accuracy and f1_macro as means over aspects, exact_match, f1_macro_<aspect>; both are (N, A)."""
        from trainer_ext.tasks.metrics import F1, Accuracy, ExactMatch

        scores = Accuracy().compute(predictions=predicted.ravel(), references=labels.ravel())
        f1 = F1(self.label_space.classes)
        by_aspect = {
            f"f1_macro_{name}": f1.compute(predictions=predicted[:, k], references=labels[:, k])[
                "f1_macro"
            ]
            for k, name in enumerate(self.label_space.columns)
        }
        scores["f1_macro"] = float(np.mean(list(by_aspect.values())))
        return scores | ExactMatch().compute(predictions=predicted, references=labels) | by_aspect

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(N, A) class indices."""
        return logits.argmax(axis=-1)

    def probability_columns(self, output: np.ndarray) -> dict[str, float]:
        """Return `<aspect>_probability_<class>` of one row's logits (A, C)."""
        probabilities = self.probabilities(output, 1.0).ravel()
        named = zip(self.oof_columns(), probabilities, strict=True)
        return {name: round(float(p), 6) for name, p in named}

    def oof_columns(self) -> list[str]:
        """Return `<aspect>_probability_<class>`, the classes of the first aspect first."""
        space = self.label_space
        return [
            f"{aspect}_probability_{name}" for aspect in space.columns for name in space.classes
        ]

    def figures(
        self, labels: np.ndarray, logits: np.ndarray, metrics: Mapping[str, float]
    ) -> list[Figure]:
        """Describe the confusion matrix of all aspects together, and the macro-F1 of each."""
        by_aspect = {name: metrics[f"f1_macro_{name}"] for name in self.label_space.columns}
        title = "validation macro-F1 by aspect"
        bars = ScoreBars(by_aspect, metrics["f1_macro"], title, "f1_by_aspect.png")
        return [*super().figures(labels, logits, metrics), bars]

    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """`{"aspects": {aspect: {"label", "score", "probabilities"}}}`."""
        scaled, best = logits / self.calibration.temperature, self.predictions(logits)
        classes = self.label_space.classes
        answers = (class_answer(row, classes, int(k)) for row, k in zip(scaled, best, strict=True))
        return {"aspects": dict(zip(self.label_space.columns, answers, strict=True))}
