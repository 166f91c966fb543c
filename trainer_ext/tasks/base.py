"""What a task is: label space, head shape, metrics, and how logits become an answer."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trainer_ext.errors import RunError, UserError, did_you_mean
from trainer_ext.tasks.activations import softmax
from trainer_ext.tasks.calibration import Calibration, expected_calibration_error, fit_temperature
from trainer_ext.tasks.figures import ConfusionMatrix, Figure
from trainer_ext.tasks.label_space import LabelSpace

NOT_FINITE = (
    "the model's outputs are no finite numbers: training has diverged (learning_rate too high?)"
)


SMALLEST_PROBABILITY = 1e-12  # so that the logarithm of a probability of 0 is finite


class Task(ABC):
    """One kind of prediction. Needs numpy only; metrics import their libraries when they are computed."""

    name: ClassVar[str]
    default_metric: ClassVar[str]
    label_space_class: ClassVar[type[LabelSpace]] = LabelSpace
    reads_words: ClassVar[bool] = False
    """Whether the tokenizer is given a list of words instead of a text."""
    greater_is_better: ClassVar[bool] = True
    """Of the default metric."""
    problem_type: ClassVar[str | None] = None
    """What transformers calls it in a config, so that its pipelines turn logits into answers as we do."""
    no_pipeline: ClassVar[str] = ""
    """Why transformers' text-classification pipeline has no answer for this task; empty where it has."""
    takes_lists: ClassVar[bool] = False
    """Whether a label may be a list, and empty."""
    loss_family: ClassVar[str] = "cross_entropy"
    """The row of the table in `objectives/build.py`: cross_entropy, binary_cross_entropy or distance."""
    has_classes: ClassVar[bool] = True
    """Whether labels are classes, as opposed to numbers."""
    takes_label_names: ClassVar[bool] = True
    """Whether `--label_names` may name the classes."""
    class_word: ClassVar[str] = "classes"
    """What the model card calls the classes."""
    fixed_columns: ClassVar[tuple[str, ...]] = ()
    """The columns of a labelled row if no flag names them; empty if `--text_column` and `--label_columns` do."""
    has_token_head: ClassVar[bool] = False
    """Whether a second head labels each token."""
    calibrations: ClassVar[tuple[str, ...]] = ()
    """The values of `--calibrate` that are possible, besides none."""
    can_balance: ClassVar[bool] = False
    """Whether `--balance` can even out how often each class is shown."""
    default_fold_strategy: ClassVar[str] = "multilabel_stratified"
    """Of `--folds`, unless `--fold_strategy` names another."""
    ragged_outputs: ClassVar[bool] = False
    """Whether the outputs of two rows may differ in shape."""
    answers_by_class: ClassVar[bool] = False
    """Whether an answer has `probabilities`, one for each class of the label space."""

    def __init__(self, label_space: LabelSpace, calibration: Calibration = Calibration()):  # noqa: B008 (immutable)
        self.label_space = label_space
        self.calibration = calibration

    @classmethod
    def make_space(
        cls,
        columns: Sequence[str],
        names: Sequence[str] | None,
        rows: Iterable[Sequence],
        separator: str = ",",
    ) -> LabelSpace:
        """The label space of `--label_names` when given, else of the raw labels in the (training) rows."""
        if names:
            return LabelSpace.from_names(columns, names)
        return LabelSpace.from_values(columns, (value for row in rows for value in row))

    @property
    @abstractmethod
    def head_shape(self) -> tuple[int, ...]:
        """Shape of the logits of one row; the last axis is the classes (the targets in regression)."""

    def head_scale(self, labels: Sequence) -> dict[str, list[float]]:
        """Config values that put the head's outputs on the scale of the training labels; none for classes."""
        return {}

    @property
    def token_classes(self) -> int:
        """Size of the second head, which labels each token; 0: there is none."""
        return 0

    @abstractmethod
    def encode(self, values: Sequence) -> int | list[int] | list[float]:
        """Labels of one row as indices, flags or numbers, from its raw values in the order of the label columns.

        Raises:
            UserError: naming the column and the value; the caller adds file and row.
        """

    def compute_metrics(self, logits: Any, labels: Any) -> dict[str, float]:
        """Metrics by name from logits (N, *head_shape) and labels (N, ...)."""
        return self.metrics_of(self.reduce(logits, labels), labels)

    def reduce(self, logits: Any, labels: Any) -> Any:
        """What metrics need of a batch's logits (B, *head_shape): its predictions, unless the task needs more.

        An evaluation during training keeps this of each batch, instead of the logits of all rows.
        """
        return self.predictions(logits)

    @abstractmethod
    def metrics_of(self, reduced: Any, labels: Any) -> dict[str, float]:
        """Metrics by name from what `reduce` gives (N, ...) and labels (N, ...)."""

    @abstractmethod
    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """The answer for one row of logits, shaped `head_shape`."""

    @abstractmethod
    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """Predictions, shaped as the labels, from logits (N, *head_shape)."""

    def agreement(self, logits: np.ndarray, reference: np.ndarray) -> float:
        """Share of items that two models' logits (N, *head_shape) answer alike."""
        return float((self.predictions(logits) == self.predictions(reference)).mean())

    def is_label(self, value: str) -> bool:
        """Whether a text reads as one label column's value; tells labels from text in txt files."""
        try:
            self.label_space.encode(value)
        except KeyError:
            return False
        return True

    def probabilities(self, logits: np.ndarray, temperature: float) -> np.ndarray:
        """Shaped as the logits, which are divided by the temperature first."""
        return softmax(logits / temperature)

    def nll(self, logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
        """Mean negative log-likelihood of the labels, in nats."""
        p = np.take_along_axis(self.probabilities(logits, temperature), labels[..., None], axis=-1)
        return float(-np.log(p.clip(min=1e-300)).mean())

    def ece(self, logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
        """Expected calibration error of the most probable class."""
        p = self.probabilities(logits, temperature)
        return expected_calibration_error(
            p.max(axis=-1).ravel(), (p.argmax(axis=-1) == labels).ravel()
        )

    def fit_decision(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, ...]]:
        """Fields of `Calibration` that make better decisions, from logits that are already divided."""
        raise NotImplementedError(f"{self.name} has no thresholds")

    def fit_calibration(self, logits: np.ndarray, labels: np.ndarray, what: str) -> Calibration:
        """`temperature`, `thresholds` or `both`, fitted on validation logits (N, *head_shape) and labels."""
        temperature = 1.0
        if what != "thresholds":
            temperature = fit_temperature(lambda value: self.nll(logits, labels, value))
        decision = {} if what == "temperature" else self.fit_decision(logits / temperature, labels)
        return Calibration(temperature, **decision)

    def calibration_metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """`ece` and `ece_uncalibrated` of a calibrated model; nothing for others."""
        if self.calibration == Calibration():
            return {}
        given = (self.calibration.temperature, 1.0)
        return dict(
            zip(
                ("ece", "ece_uncalibrated"),
                (self.ece(logits, labels, t) for t in given),
                strict=True,
            )
        )

    def join(self, labels: Sequence[str]) -> str:
        """Several labels as one cell of csv."""
        return self.label_space.separator.join(labels)

    @classmethod
    @abstractmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """Every key `compute_metrics` returns that can choose the best model, without prefix."""

    @classmethod
    def required_columns(cls, text_column: str, label_columns: Sequence[str]) -> list[str]:
        """Columns a labelled row must have."""
        return [text_column, *label_columns]

    @classmethod  # noqa: B027 (most tasks take any columns)
    def check_columns(cls, columns: Sequence[str], given: bool = True) -> None:
        """Raise `UserError` if these label columns do not fit the task.

        Args:
            columns: the label columns.
            given: whether the user named them; otherwise they are the default.
        """

    @classmethod
    def has_one_label(cls, columns: Sequence[str]) -> bool:
        """Return whether each row has a single label, by which rows can be stratified."""
        return False

    def strata(self, labels: Sequence) -> np.ndarray:
        """Return class indices (N, K) that every fold should hold in equal shares, from encoded labels."""
        return np.asarray(labels).reshape(len(labels), -1)

    def strata_flags(self, labels: Sequence) -> np.ndarray:
        """Return the same as flags (N, F), one for each class of each column."""
        columns = self.strata(labels).T
        flags = [column[:, None] == np.unique(column) for column in columns]
        return np.concatenate(flags, axis=1).astype(int)

    @classmethod
    def classes_to_balance(cls, labels: Sequence) -> np.ndarray:
        """Return class indices (N,), or (N, K) if rows have several labels; those below zero do not count."""
        return np.asarray(labels)

    def count_labels(self, labels: np.ndarray) -> np.ndarray:
        """Return how often each class occurs in encoded labels, (C,)."""
        return np.bincount(labels.ravel(), minlength=len(self.label_space.classes))

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The label columns of the training file."""
        return self.label_space.columns

    def to_columns(self, output: Any, as_list: bool = False) -> dict[str, Any]:
        """Write one row's output as label columns, in the words (and numbers) of the training file.

        Args:
            output: of one row, as `decode` takes it.
            as_list: write several labels as a JSON list, because the training file has lists.
        """
        chosen = np.atleast_1d(self.predictions(output[None])[0])
        values = [self.label_space.values[k] for k in chosen]
        return dict(zip(self.label_columns, values, strict=True))

    def probability_columns(self, output: Any) -> dict[str, float]:
        """Return `probability_<class>` of one row's output."""
        probabilities = self.probabilities(output, 1.0)
        named = zip(self.label_space.classes, probabilities, strict=True)
        return {f"probability_{name}": round(float(p), 6) for name, p in named}

    def oof_columns(self) -> list[str]:
        """Return the columns of oof.csv that hold `ensemble_values`, flattened; none if it does not hold them all."""
        return [f"probability_{name}" for name in self.label_space.classes]

    def heads(self, output: Any) -> tuple[np.ndarray, ...]:
        """Divide an output into one array for each head."""
        return (output,)

    def from_heads(self, heads: Sequence[np.ndarray]) -> Any:
        """Put together what `heads` divided."""
        return heads[0]

    def ensemble_values(self, logits: np.ndarray) -> np.ndarray:
        """Return what an ensemble averages, from the logits of one head: probabilities."""
        return self.probabilities(logits, 1.0)

    def from_ensemble_values(self, values: np.ndarray) -> np.ndarray:
        """Return logits that have these `ensemble_values`."""
        return np.log(values.clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))

    def decision_logits(self, logits: np.ndarray) -> np.ndarray:
        """Shift divided logits so that they decide as the calibration does, without thresholds or bias."""
        return logits

    def votes(self, logits: np.ndarray) -> np.ndarray:
        """Return the decisions of one head as 0 and 1, shaped as its logits."""
        return np.eye(logits.shape[-1])[self.predictions(logits)]

    def ensemble_loss(self, outputs: Any, labels: Any) -> float:
        """Return what the weights of an ensemble are fitted on: the negative log-likelihood in nats."""
        return self.nll(outputs, labels, self.calibration.temperature)

    def true_and_predicted(self, labels: Any, logits: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and predictions (N, ...) of the first head."""
        return np.asarray(labels), self.predictions(logits)

    def class_pairs(self, labels: Any, logits: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """Return true and predicted class indices (M,) of all labels; None if a label is not one class."""
        true, predicted = self.true_and_predicted(labels, logits)
        return true.ravel(), predicted.ravel()

    def figures(self, labels: Any, logits: Any, metrics: Mapping[str, float]) -> list[Figure]:
        """Describe the pictures of the validation predictions."""
        pairs = self.class_pairs(labels, logits)
        return [] if pairs is None else [ConfusionMatrix(*pairs)]

    @property
    def example_columns(self) -> tuple[str, ...]:
        """The columns of `readable`."""
        return self.label_space.columns

    def readable(self, labels: np.ndarray) -> list[Any]:
        """Return one row of `true_and_predicted` as people read it, a cell for each of `example_columns`."""
        classes = self.label_space.classes
        # Below zero are labels that no training row has.
        return [classes[k] if k >= 0 else "(unseen)" for k in np.atleast_1d(labels)]

    def as_text(self, item: Any) -> str:
        """Return a row's input as one text."""
        return item

    def prepare(self, item: Any) -> Any:
        """What the predictor was given for one row (a text), in the form the other methods take.

        Raises:
            UserError: when it is none.
        """
        if not isinstance(item, str):
            raise UserError(f"expected a text, got {item!r:.80}")
        return item

    def row_output(self, arrays: dict[str, np.ndarray], encoding: Any, item: Any) -> Any:
        """What `decode` takes, from the session's arrays of one row, the row's `tokenizers.Encoding` and the item."""
        return arrays["logits"]

    def stack(self, outputs: Sequence[Any]) -> Any:
        """Outputs of rows as `compute_metrics` takes them."""
        return (
            np.stack(outputs) if len(outputs) else np.zeros((0, *self.head_shape), dtype=np.float32)
        )

    def stack_labels(self, labels: Sequence[Any]) -> Any:
        """Labels of rows as `compute_metrics` takes them."""
        return np.asarray(labels)

    def flat(self, logits: Any) -> np.ndarray:
        """All logits in one axis, for comparing two models."""
        return logits.ravel()

    def parts(self, logits: Any) -> list[np.ndarray]:
        """The logits of all rows, divided by what has a scale of its own: heads, or the targets of regression."""
        return [logits]

    def spreads(self, logits: Any, labels: Any) -> list[float]:
        """The standard deviation of each of the `parts`; both arguments as `compute_metrics` takes them."""
        return [float(part.std()) if part.size else 0.0 for part in self.parts(logits)]

    def metric_unit(self, labels: Any) -> float:
        """What the default metric is measured in: 1 for shares."""
        return 1.0

    def one_answer(self, logits: Any, labels: Any) -> str:
        """What the model answers for every row although the rows' labels differ; empty where it tells them apart."""
        predictions = self.predictions(logits)
        constant = (predictions == predictions[0]).all() and (labels != labels[0]).any()
        return self.name_of(predictions[0]) if constant else ""

    def name_of(self, prediction: Any) -> str:
        """One row's prediction in a message."""
        return "the same"

    def check_finite(self, logits: Any) -> None:
        """Raise `RunError` for NaN and infinity, whose metrics may look like those of a poor model."""
        if not np.isfinite(self.flat(logits)).all():
            raise RunError(NOT_FINITE)

    def answer(self, item: Any, output: Any) -> dict[str, Any]:
        """The answer for one row, from what `prepare` and `row_output` returned."""
        return self.decode(output)

    @classmethod
    def check_metric(cls, metric: str | None, columns: Sequence[str]) -> None:
        """Raise `UserError` when `metric_for_best_model` is nothing this task's evaluation produces."""
        known = ["loss", *cls.metric_names(columns)]
        if metric is not None and metric.removeprefix("eval_") not in known:
            near = did_you_mean(metric.removeprefix("eval_"), known)
            raise UserError(
                f"metric_for_best_model {metric} is no metric of {cls.name}{near}; it has {', '.join(known)}"
            )

    def encode_one(self, column: str, value: str) -> int:
        """Index of one raw value, or a `UserError` naming column, value and what was expected."""
        try:
            return self.label_space.encode(value)
        except KeyError:
            expected = self.label_space.expected()
            raise UserError(
                f"column {column!r} has the unknown label {value!r}; expected {expected}"
            ) from None


def class_answer(logits: np.ndarray, classes: Sequence[str], best: int) -> dict[str, Any]:
    """`{"label", "score", "probabilities"}` from the logits (C,) of `classes`, of which number `best` is the answer."""
    probabilities = softmax(logits)
    return {
        "label": classes[best],
        "score": round(float(probabilities[best]), 6),
        "probabilities": {
            name: round(float(p), 6) for name, p in zip(classes, probabilities, strict=True)
        },
    }
