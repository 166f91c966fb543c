"""What is done with a model's outputs: calibrating them, comparing two models, ensembles, pictures of predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypedDict

import numpy as np

from trainer_ext.tasks.activations import Array, cut_off, one_hot, softmax
from trainer_ext.tasks.calibration import Calibration, expected_calibration_error, fit_temperature
from trainer_ext.tasks.decisions import ClassDecisions, Decisions
from trainer_ext.tasks.figures import ConfusionMatrix, Figure
from trainer_ext.tasks.label_space import LabelSpace
from trainer_ext.tasks.ood_scores import OF_VECTOR
from trainer_ext.tasks.rejection import distances_of, softmax_scores
from trainer_ext.tasks.tallies import Metrics

Pair = tuple[Array, Array]
"""What is true and what was predicted."""


class ScoredRows(TypedDict):
    """A model's outputs on labelled rows, and how good they are.

    `logits` and `labels` are as `compute_metrics` takes them: (N, *head_shape) and (N, ...) in most tasks.
    """

    metrics: dict[str, float]
    logits: Any
    labels: Any


class OutputMethods(ABC):
    """The part of a `Task` that needs its outputs only; shapes as there."""

    name: ClassVar[str]
    label_space: LabelSpace
    calibration: Calibration

    @abstractmethod
    def predictions(self, logits: Any) -> Array:
        """Return predictions, shaped as the labels, from logits (N, *head_shape)."""

    # --- calibration ------------------------------------------------------------------------------------------------

    def probabilities(self, logits: Array, temperature: float) -> Array:
        """Return probabilities shaped as the logits, which are divided by the temperature first."""
        return softmax(logits / temperature)

    def nll(self, logits: Array, labels: Array, temperature: float) -> float:
        """Return the mean negative log-likelihood of the labels, in nats."""
        probabilities = self.probabilities(logits, temperature)
        index = labels[..., None]
        of_labels = np.take_along_axis(probabilities, index, axis=-1)
        # In float64 a probability can be 0.
        likelihood = np.log(of_labels.clip(min=1e-300))
        return -float(likelihood.mean())

    def ece(self, logits: Array, labels: Array, temperature: float) -> float:
        """Return the expected calibration error of the most probable class."""
        probabilities = self.probabilities(logits, temperature)
        confidence = probabilities.max(axis=-1)
        is_right = probabilities.argmax(axis=-1) == labels
        return expected_calibration_error(confidence.ravel(), is_right.ravel())

    def fit_decision(self, logits: Array, labels: Array) -> Calibration:
        """Return thresholds or a bias that make better decisions, fitted on logits that are divided already."""
        raise NotImplementedError(f"{self.name} has no thresholds")

    def fit_calibration(self, logits: Array, labels: Array, what: str) -> Calibration:
        """Fit `temperature`, `thresholds` or `both` on validation logits (N, *head_shape) and labels."""
        temperature = 1.0
        if what != "thresholds":
            temperature = fit_temperature(lambda value: self.nll(logits, labels, value))
        if what == "temperature":
            return Calibration(temperature)
        decision = self.fit_decision(logits / temperature, labels)
        return replace(decision, temperature=temperature)

    def calibration_metrics(self, logits: Array, labels: Array) -> dict[str, float]:
        """Return `ece` and `ece_uncalibrated` of a calibrated model; nothing for others."""
        # Without a calibration the two would be the same number.
        if self.calibration == Calibration():
            return {}
        return {
            "ece": self.ece(logits, labels, self.calibration.temperature),
            "ece_uncalibrated": self.ece(logits, labels, 1.0),
        }

    def ood_scores(self, outputs: Sequence[Any], score: str) -> Array:
        """Return how strange each row is (N,); more is stranger.

        Args:
            outputs: of the rows.
            score: one of `OOD_SCORES`.
        """
        if score == OF_VECTOR:
            distances = distances_of([self.heads(output)[0] for output in outputs])
            return distances[:, 0]
        return self.logit_scores(self.stack(outputs), score)

    @abstractmethod
    def stack(self, outputs: Sequence[Any]) -> Any:
        """Return the outputs of rows as `compute_metrics` takes them."""

    def logit_scores(self, logits: Any, score: str) -> Array:
        """Return one of the scores of the logits (N, *head_shape), (N,)."""
        # Of two heads the first, which labels the whole text.
        first_head = self.parts(logits)[0]
        return softmax_scores(first_head, self.calibration.temperature, score)

    # --- two models compared, by the export gate --------------------------------------------------------------------

    def agreement(self, logits: Any, reference: Any) -> float:
        """Return the share of items that two models' logits (N, *head_shape) answer alike."""
        is_alike = self.predictions(logits) == self.predictions(reference)
        return float(is_alike.mean())

    def flat(self, logits: Any) -> Array:
        """Return all logits in one axis."""
        return np.ravel(logits)

    def parts(self, logits: Any) -> list[Array]:
        """Divide the logits of all rows by what has a scale of its own: heads, or the targets of regression."""
        # Compared as one, the differences of a head with small logits would not be seen.
        return [logits]

    def spreads(self, logits: Any, labels: Any) -> list[float]:
        """Return the standard deviation of each of the `parts`; both arguments as `compute_metrics` takes them."""
        # Without any word there are no logits of tags, whose spread would be NaN.
        return [float(part.std()) if part.size else 0.0 for part in self.parts(logits)]

    def metric_unit(self, labels: Any) -> float:
        """Return what the default metric is measured in: 1 for shares."""
        return 1.0

    def changed(self, logits: Any, reference: Any) -> Array:
        """Return for each row whether any part of its answer differs between two models (N,)."""
        differs = self.predictions(logits) != self.predictions(reference)
        rows = differs.reshape(len(differs), -1)
        any_differs: Array = rows.any(axis=1)
        return any_differs

    def is_right(self, reduced: Any, labels: Any) -> Array | None:
        """Return for each row whether all of its labels are predicted (N,); None if labels are numbers.

        Args:
            reduced: of `reduce`.
            labels: true ones.
        """
        is_equal = np.asarray(reduced == labels)
        rows = is_equal.reshape(len(is_equal), -1)
        return np.asarray(rows.all(axis=1))

    def tally(self, reduced: Any, labels: Any) -> Array:
        """Return what each row adds to the sums that `metrics_of_sums` takes, (N, K).

        Args:
            reduced: of `reduce`.
            labels: true ones, or probabilities of `soft_labels`.
        """
        raise NotImplementedError(f"{self.name} has no tally")

    def metrics_of_sums(self, sums: Array) -> Metrics:
        """Return metrics (R,) by name from sums of rows' tallies (R, K), the default metric among them."""
        raise NotImplementedError(f"{self.name} has no tally")

    def soft_labels(self, logits: Any) -> Array | None:
        """Return what a model itself holds for true, in place of labels; None if `tally` takes labels only."""
        return None

    def metric_units(self, labels: Any) -> dict[str, float]:
        """Return the unit of those metrics whose unit is not `metric_unit`."""
        return {}

    def one_answer(self, logits: Any, labels: Any) -> str:
        """Return what the model answers for every row although labels differ; empty if its answers differ too."""
        # A model that answers all rows alike agrees with any export of itself, which proves nothing.
        predictions = self.predictions(logits)
        is_constant = (predictions == predictions[0]).all()
        if is_constant and (labels != labels[0]).any():
            return self.name_of(predictions[0])
        return ""

    def name_of(self, prediction: Any) -> str:
        """Return one row's prediction as a message shows it."""
        return "the same"

    # --- ensembles --------------------------------------------------------------------------------------------------

    def heads(self, output: Any) -> tuple[Array, ...]:
        """Divide an output into one array for each head."""
        return (output,)

    def from_heads(self, heads: Sequence[Array]) -> Any:
        """Put together what `heads` divided."""
        return heads[0]

    def ensemble_values(self, logits: Array) -> Array:
        """Return what an ensemble averages, from the logits of one head: probabilities."""
        return self.probabilities(logits, 1.0)

    def from_ensemble_values(self, values: Array) -> Array:
        """Return logits that have these `ensemble_values`."""
        logits: Array = np.log(cut_off(values))
        return logits

    def oof_columns(self) -> list[str]:
        """Return the columns of oof.csv that hold `ensemble_values`, flattened; none if it does not hold them all."""
        return [f"probability_{name}" for name in self.label_space.classes]

    def decision_logits(self, logits: Array) -> Array:
        """Shift divided logits so that they decide as the calibration does, without thresholds or bias."""
        return logits

    def votes(self, logits: Array) -> Array:
        """Return the decisions of one head as 0 and 1, shaped as its logits."""
        return one_hot(self.predictions(logits), logits.shape[-1])

    def confidence(self, logits: Array) -> float:
        """Return the probability of the least certain decision of one head's logits (..., C); 1 without a decision."""
        probabilities = self.probabilities(logits, self.calibration.temperature)
        of_decisions = (probabilities * self.votes(logits)).sum(axis=-1)
        return float(of_decisions.min(initial=1.0))

    def ensemble_loss(self, outputs: Any, labels: Any) -> float:
        """Return what the weights of an ensemble are fitted on: the negative log-likelihood in nats."""
        return self.nll(outputs, labels, self.calibration.temperature)

    # --- reports, pictures and examples ------------------------------------------------------------------------------

    def true_and_predicted(self, scored: ScoredRows) -> Pair:
        """Return labels and predictions (N, ...) of the first head."""
        return np.asarray(scored["labels"]), self.predictions(scored["logits"])

    def decisions(self, scored: ScoredRows) -> list[Decisions]:
        """Describe what was decided on the rows: a class for each label column, unless the task has other answers."""
        true, predicted = self.true_and_predicted(scored)
        logits = scored["logits"]
        rows = np.arange(len(true))
        temperature = self.calibration.temperature
        classes = self.label_space.classes
        if true.ndim == 1:
            return [ClassDecisions("", classes, rows, true, predicted, logits, temperature)]
        parts: list[Decisions] = []
        for k, column in enumerate(self.label_space.columns):
            of_part = (true[:, k], predicted[:, k], logits[:, k])
            parts.append(ClassDecisions(column, classes, rows, *of_part, temperature))
        return parts

    def class_pairs(self, scored: ScoredRows) -> Pair | None:
        """Return true and predicted class indices (M,) of all labels; None if a label is not one class."""
        true, predicted = self.true_and_predicted(scored)
        return true.ravel(), predicted.ravel()

    def figures(self, scored: ScoredRows) -> list[Figure]:
        """Describe the pictures of the validation predictions."""
        pairs = self.class_pairs(scored)
        if pairs is None:
            return []
        return [ConfusionMatrix(*pairs)]

    @property
    def example_columns(self) -> tuple[str, ...]:
        """The columns of `readable`."""
        return self.label_space.columns

    def readable(self, labels: Array) -> list[Any]:
        """Return one row of `true_and_predicted` as people read it, a cell for each of `example_columns`."""
        return [self.class_name(index) for index in np.atleast_1d(labels)]

    def class_name(self, index: int) -> str:
        """Return the class of an index."""
        # Labels that no training row has are below zero.
        if index < 0:
            return "(unseen)"
        return self.label_space.classes[index]
