"""`evaluate.Metric`s over scikit-learn that need no hub: `evaluate.load` would fetch a script."""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, f1_score


class OfflineMetric(evaluate.Metric):
    """Base: integer predictions and references (N,), or (N, A) in a subclass that says so."""

    feature: datasets.features.features.FeatureType = datasets.Value("int64")

    def __init__(self, **kwargs):
        super().__init__(keep_in_memory=True, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": self.feature, "references": self.feature})
        return evaluate.MetricInfo(description=self.__doc__, citation="", features=features)


class Accuracy(OfflineMetric):
    """Share of equal items: `{"accuracy"}`."""

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class F1(OfflineMetric):
    """`{"f1_macro", "f1_<class>"}` over the classes that occur in predictions or references, as scikit-learn counts."""

    def __init__(self, classes: Sequence[str], **kwargs):
        super().__init__(**kwargs)
        self.classes = classes

    def _compute(self, predictions, references) -> dict[str, float]:
        present = np.union1d(predictions, references)
        by_class = f1_score(references, predictions, labels=present, average=None, zero_division=0)
        named = {f"f1_{self.classes[k]}": float(score) for k, score in zip(present, by_class, strict=True)}
        return {**named, "f1_macro": float(np.mean(by_class))}


class ExactMatch(OfflineMetric):
    """Share of rows (N, A) in which every item is right: `{"exact_match"}`."""

    feature = datasets.Sequence(datasets.Value("int64"))

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"exact_match": float((np.asarray(predictions) == np.asarray(references)).all(axis=-1).mean())}
