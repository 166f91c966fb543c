"""`evaluate.Metric`s over scikit-learn that need no hub: `evaluate.load` would fetch a script."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from trainer_ext.tasks.activations import Array


class OfflineMetric(evaluate.Metric):
    """Base: integer predictions and references (N,), or (N, A) in a subclass that says so."""

    feature: datasets.features.features.FeatureType = datasets.Value("int64")

    def __init__(self) -> None:
        # In memory: evaluate would write its tables into the cache of the hub otherwise.
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        columns = {"predictions": self.feature, "references": self.feature}
        features = datasets.Features(columns)
        return evaluate.MetricInfo(description=self.__doc__, citation="", features=features)


class NamedMetric(OfflineMetric):
    """Base: a score for each class or target as well as a mean."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names

    def named(self, prefix: str, scores: Sequence[float]) -> dict[str, float]:
        """Return the scores by `<prefix>_<name>`."""
        named = {}
        for name, score in zip(self.names, scores, strict=True):
            named[f"{prefix}_{name}"] = float(score)
        return named


class Accuracy(OfflineMetric):
    """Share of equal items: `{"accuracy"}`."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        accuracy = accuracy_score(references, predictions)
        return {"accuracy": float(accuracy)}


class F1(NamedMetric):
    """`{"f1_macro", "f1_<class>"}` over the classes that occur in predictions or references, as scikit-learn counts."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        # Other classes of the label space would count as 0 in the mean: a validation file may lack rare ones.
        present = np.union1d(predictions, references)
        by_class = f1_score(references, predictions, labels=present, average=None, zero_division=0)
        scores = {}
        for index, score in zip(present, by_class, strict=True):
            name = self.names[index]
            scores[f"f1_{name}"] = float(score)
        scores["f1_macro"] = float(np.mean(by_class))
        return scores


class ExactMatch(OfflineMetric):
    """Share of rows (N, A) in which every item is right: `{"exact_match"}`."""

    feature = datasets.Sequence(datasets.Value("int64"))

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        is_item_right = np.asarray(predictions) == np.asarray(references)
        is_row_right = is_item_right.all(axis=-1)
        return {"exact_match": float(is_row_right.mean())}


class MultiLabelF1(NamedMetric):
    """`{"f1_micro", "f1_macro", "f1_<class>"}` of 0/1 rows (N, C); a class that never occurs has 0, as in sklearn."""

    feature = datasets.Sequence(datasets.Value("int64"))

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        true = np.asarray(references)
        predicted = np.asarray(predictions)
        by_class = f1_score(true, predicted, average=None, zero_division=0)
        micro = f1_score(true, predicted, average="micro", zero_division=0)
        scores = self.named("f1", by_class)
        scores["f1_micro"] = float(micro)
        scores["f1_macro"] = float(np.mean(by_class))
        return scores


class RocAuc(OfflineMetric):
    """`{"roc_auc_macro"}` of probabilities and 0/1 references (N, C).

    The mean over the classes that have positive and negative references; 0.5 without such a class, as of a coin.
    """

    feature = datasets.Sequence(datasets.Value("float64"))

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        by_class = np.transpose(predictions)
        flags = np.transpose(references)
        values = []
        for scores, labels in zip(by_class, flags, strict=True):
            # One side alone has no pair to put in order, and scikit-learn no value for it.
            has_both = 0 < labels.mean() < 1
            if has_both:
                values.append(roc_auc_score(labels, scores))
        if not values:
            return {"roc_auc_macro": 0.5}
        return {"roc_auc_macro": float(np.mean(values))}


class Rmse(NamedMetric):
    """`{"mcrmse", "rmse_<target>"}`: the root of the mean squared error of each target, and the mean of these."""

    feature = datasets.Sequence(datasets.Value("float64"))

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        errors = np.asarray(predictions) - np.asarray(references)
        squares = errors**2
        rmse = np.sqrt(squares.mean(axis=0))
        scores = self.named("rmse", rmse)
        scores["mcrmse"] = float(rmse.mean())
        return scores


class Pearson(OfflineMetric):
    """`{"pearson"}`: the mean over targets of Pearson's r, which counts as 0 if either side is constant."""

    feature = datasets.Sequence(datasets.Value("float64"))

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        x = centred(predictions)
        y = centred(references)
        x_squares = (x**2).sum(axis=0)
        y_squares = (y**2).sum(axis=0)
        spread = np.sqrt(x_squares * y_squares)
        # Of constant values the mean may differ by a rounding error, so that the spread alone is not quite 0.
        x_varies = np.ptp(x, axis=0) > 0
        y_varies = np.ptp(y, axis=0) > 0
        is_defined = x_varies & y_varies & (spread > 0)
        products = (x * y).sum(axis=0)
        r = np.zeros_like(spread)
        np.divide(products, spread, out=r, where=is_defined)
        return {"pearson": float(r.mean())}


def centred(values: Any) -> Array:
    """Return rows (N, T) less the mean of each column."""
    rows: Array = np.asarray(values)
    rows = rows - rows.mean(axis=0)
    return rows
