"""`evaluate.Metric`s over scikit-learn that need no hub: `evaluate.load` would fetch a script."""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score


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
        named = {
            f"f1_{self.classes[k]}": float(score)
            for k, score in zip(present, by_class, strict=True)
        }
        return {**named, "f1_macro": float(np.mean(by_class))}


class ExactMatch(OfflineMetric):
    """Share of rows (N, A) in which every item is right: `{"exact_match"}`."""

    feature = datasets.Sequence(datasets.Value("int64"))

    def _compute(self, predictions, references) -> dict[str, float]:
        return {
            "exact_match": float(
                (np.asarray(predictions) == np.asarray(references)).all(axis=-1).mean()
            )
        }


class MultiLabelF1(OfflineMetric):
    """`{"f1_micro", "f1_macro", "f1_<class>"}` of 0/1 rows (N, C); a class that never occurs has 0, as in sklearn."""

    feature = datasets.Sequence(datasets.Value("int64"))

    def __init__(self, classes: Sequence[str], **kwargs):
        super().__init__(**kwargs)
        self.classes = classes

    def _compute(self, predictions, references) -> dict[str, float]:
        given = (np.asarray(references), np.asarray(predictions))
        by_class = f1_score(*given, average=None, zero_division=0)
        micro = f1_score(*given, average="micro", zero_division=0)
        named = {
            f"f1_{name}": float(score) for name, score in zip(self.classes, by_class, strict=True)
        }
        return {**named, "f1_micro": float(micro), "f1_macro": float(np.mean(by_class))}


class FloatMetric(OfflineMetric):
    """Base: rows (N, T) of numbers."""

    feature = datasets.Sequence(datasets.Value("float64"))


class RocAuc(FloatMetric):
    """`{"roc_auc_macro"}` of probabilities and 0/1 references (N, C).

    The mean over the classes of which the references hold both kinds; 0.5, which says nothing, where there is none.
    """

    def _compute(self, predictions, references) -> dict[str, float]:
        scores, labels = np.asarray(predictions), np.asarray(references)
        known = [k for k in range(labels.shape[1]) if 0 < labels[:, k].mean() < 1]
        values = [roc_auc_score(labels[:, k], scores[:, k]) for k in known]
        return {"roc_auc_macro": float(np.mean(values)) if values else 0.5}


class Rmse(FloatMetric):
    """`{"mcrmse", "rmse_<target>"}`: the root of the mean squared error of each target, and the mean of these."""

    def __init__(self, targets: Sequence[str], **kwargs):
        super().__init__(**kwargs)
        self.targets = targets

    def _compute(self, predictions, references) -> dict[str, float]:
        rmse = np.sqrt(((np.asarray(predictions) - np.asarray(references)) ** 2).mean(axis=0))
        named = {
            f"rmse_{name}": float(value) for name, value in zip(self.targets, rmse, strict=True)
        }
        return {**named, "mcrmse": float(rmse.mean())}


class Pearson(FloatMetric):
    """`{"pearson"}`: the mean over targets of Pearson's r, which counts as 0 where either side is constant."""

    def _compute(self, predictions, references) -> dict[str, float]:
        x, y = (
            np.asarray(values) - np.mean(values, axis=0) for values in (predictions, references)
        )
        spread = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
        varies = (np.ptp(x, axis=0) > 0) & (np.ptp(y, axis=0) > 0) & (spread > 0)
        r = np.divide((x * y).sum(axis=0), spread, out=np.zeros_like(spread), where=varies)
        return {"pearson": float(r.mean())}
