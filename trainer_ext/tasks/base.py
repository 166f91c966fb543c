"""What a task is: its label space, the shape of its head, its metrics, and how logits become an answer.

`Task` is the only thing that the other rooms know of a task. What differs by task is an attribute or a method here,
with a default that fits most tasks: nobody compares names (`tests/test_imports.py`). docs/architecture.md says how to
add one.

`OutputMethods`, the base class, uses a model's outputs: calibration, the export gate, ensembles, pictures.
Shapes: N rows, C classes, T targets, A aspects. "An output" is what `decode` takes: the logits of one row, shaped
`head_shape`, or what `row_output` makes of them.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from trainer_ext.errors import RunError, UserError, did_you_mean
from trainer_ext.tasks.activations import Array
from trainer_ext.tasks.calibration import Calibration
from trainer_ext.tasks.label_space import LabelSpace
from trainer_ext.tasks.outputs import OutputMethods
from trainer_ext.tasks.rejection import Rejection, first_head

NOT_FINITE = (
    "the model's outputs are not finite numbers: training has diverged (learning_rate too high?)"
)


class Task(OutputMethods):
    """One kind of prediction. Needs numpy only; metrics import their libraries when they are computed."""

    default_metric: ClassVar[str]
    greater_is_better: ClassVar[bool] = True
    """Whether more of the default metric is better."""
    label_space_class: ClassVar[type[LabelSpace]] = LabelSpace
    has_classes: ClassVar[bool] = True
    """Whether labels are classes, as opposed to numbers."""
    class_word: ClassVar[str] = "classes"
    """What the model card calls the classes."""
    loss_family: ClassVar[str] = "cross_entropy"
    """The row of the table in `objectives/build.py`: cross_entropy, binary_cross_entropy or distance."""
    has_token_head: ClassVar[bool] = False
    """Whether a second head labels each token."""
    ragged_outputs: ClassVar[bool] = False
    """Whether the outputs of two rows may differ in shape."""

    reads_words: ClassVar[bool] = False
    """Whether the tokenizer is given a list of words instead of a text."""
    fixed_columns: ClassVar[tuple[str, ...]] = ()
    """The columns of a labelled row if no flag names them; empty if `--text_column` and `--label_columns` do."""
    takes_lists: ClassVar[bool] = False
    """Whether a label may be a list, and empty."""
    takes_label_names: ClassVar[bool] = True
    """Whether `--label_names` may name the classes."""
    calibrations: ClassVar[tuple[str, ...]] = ()
    """The values of `--calibrate` that are possible, besides none."""
    can_balance: ClassVar[bool] = False
    """Whether `--balance` can even out how often each class is shown."""
    default_fold_strategy: ClassVar[str] = "multilabel_stratified"
    """Of `--folds`, unless `--fold_strategy` names another."""

    problem_type: ClassVar[str | None] = None
    """What transformers calls the task in a config, so that its pipelines turn logits into the same answers."""
    no_pipeline: ClassVar[str] = ""
    """Why transformers' text-classification pipeline has no answer for this task; empty if it has one."""
    answers_by_class: ClassVar[bool] = False
    """Whether an answer has `probabilities`, one for each class of the label space."""
    class_key: ClassVar[str] = ""
    """The key of an answer that says which class (or classes) the text has; empty if it has none."""
    confidence_key: ClassVar[str] = ""
    """The key of an answer that says how probable that class is."""

    def __init__(
        self,
        label_space: LabelSpace,
        calibration: Calibration = Calibration(),  # noqa: B008 (immutable)
        rejection: Rejection | None = None,
    ):
        self.label_space = label_space
        self.calibration = calibration
        self.rejection = rejection

    @property
    def reads_characters(self) -> bool:
        """Return whether these words are the characters of a text."""
        return False

    # --- labels: from raw values to numbers -------------------------------------------------------------------------

    @classmethod
    def make_space(
        cls,
        columns: Sequence[str],
        names: Sequence[str] | None,
        rows: Iterable[Sequence[Any]],
        separator: str = ",",
    ) -> LabelSpace:
        """Return the label space of `--label_names` if given, else of the raw labels in the (training) rows."""
        # Given names also fix the order of the classes, and allow for classes that no row has.
        if names:
            return LabelSpace.from_names(columns, names)
        return LabelSpace.from_values(columns, (value for row in rows for value in row))

    @classmethod
    def required_columns(cls, text_column: str, label_columns: Sequence[str]) -> list[str]:
        """Return the columns that a labelled row must have."""
        return list(cls.fixed_columns) or [text_column, *label_columns]

    @classmethod
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

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The label columns of the training file."""
        return self.label_space.columns

    def with_columns(self, columns: Sequence[str]) -> "Task":
        """Return the task for a file whose label columns are called otherwise.

        Columns of the model's own names are read by name, others in its order.

        Raises:
            UserError: if they are not as many.
        """
        known = self.label_space.columns
        if set(columns) == set(known):
            return self
        if self.fixed_columns or len(columns) != len(known):
            expected = ", ".join(self.fixed_columns or known)
            raise UserError(
                f"label_columns {', '.join(columns)}: expected as many as the model has ({expected})"
            )
        space = replace(self.label_space, columns=tuple(columns))
        return type(self)(space, self.calibration, self.rejection)

    @abstractmethod
    def encode(self, values: Sequence[Any]) -> int | list[int] | list[float]:
        """Encode one row's raw labels, in the order of the label columns, as indices, flags or numbers.

        Raises:
            UserError: naming the column and the value; the caller adds file and row.
        """

    def encode_words(self, intent: str, tags: Sequence[str]) -> tuple[int, list[int]]:
        """Encode the labels of a row of words, for a task that `reads_words`."""
        raise NotImplementedError(f"{self.name} reads texts")

    def counted_in(self, tags: Iterable[Sequence[str]]) -> "Task":
        """Return the task with what it counts in the tags of training rows counted in these; most count nothing."""
        return self

    def encode_one(self, column: str, value: str) -> int:
        """Return the class index of one raw value, or raise `UserError` naming column, value and what was expected."""
        try:
            return self.label_space.encode(value)
        except KeyError:
            expected = self.label_space.expected()
            raise UserError(
                f"column {column!r} has the unknown label {value!r}; expected {expected}"
            ) from None

    def is_label(self, value: str) -> bool:
        """Return whether a text reads as the value of a label column; tells labels from text in txt files."""
        try:
            self.label_space.encode(value)
        except KeyError:
            return False
        return True

    def join(self, labels: Sequence[str]) -> str:
        """Write several labels as one cell of csv."""
        return self.label_space.separator.join(labels)

    def stack_labels(self, labels: Sequence[Any]) -> Any:
        """Return the labels of rows as `compute_metrics` takes them."""
        return np.asarray(labels)

    def strata(self, labels: Sequence[Any]) -> Array:
        """Return class indices (N, K) that every fold should hold in equal shares, from encoded labels."""
        return np.asarray(labels).reshape(len(labels), -1)

    def strata_flags(self, labels: Sequence[Any]) -> Array:
        """Return the same as flags (N, F), one for each class of each column."""
        columns = self.strata(labels).T
        flags = [column[:, None] == np.unique(column) for column in columns]
        return np.concatenate(flags, axis=1).astype(int)

    @classmethod
    def classes_to_balance(cls, labels: Sequence[Any] | Array) -> Array:
        """Return class indices (N,), or (N, K) if rows have several labels; those below zero do not count."""
        return np.asarray(labels)

    def count_labels(self, labels: Array) -> Array:
        """Return how often each class occurs in encoded labels, (C,)."""
        return np.bincount(labels.ravel(), minlength=len(self.label_space.classes))

    # --- the model: its head, and its logits row by row -------------------------------------------------------------

    @property
    @abstractmethod
    def head_shape(self) -> tuple[int, ...]:
        """Shape of the logits of one row; the last axis is the classes (the targets in regression)."""

    def head_scale(self, labels: Sequence[Any]) -> dict[str, list[float]]:
        """Return config values that put the head's outputs on the scale of the training labels; none for classes."""
        return {}

    @property
    def token_classes(self) -> int:
        """Size of the head that labels each token; 0 without such a head."""
        return 0

    def prepare(self, item: Any) -> Any:
        """Bring what the predictor was given for one row (a text) into the form that the other methods take.

        Raises:
            UserError: if it is not a text.
        """
        if not isinstance(item, str):
            raise UserError(f"expected a text, got {item!r:.80}")
        return item

    def as_text(self, item: Any) -> str:
        """Return a row's input as one text."""
        return str(item)

    def row_output(self, arrays: dict[str, Array], encoding: Any, item: Any) -> Any:
        """Return the output of one row.

        Args:
            arrays: of the session, for this row.
            encoding: the row's `tokenizers.Encoding`.
            item: of `prepare`.
        """
        return first_head(arrays)

    def stack(self, outputs: Sequence[Any]) -> Any:
        """Return the outputs of rows as `compute_metrics` takes them."""
        # np.stack refuses an empty list.
        if not len(outputs):
            return np.zeros((0, *self.head_shape), dtype=np.float32)
        return np.stack(outputs)

    # --- metrics ------------------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """Return every key of `compute_metrics` that can choose the best model, without prefix."""

    @classmethod
    def check_metric(cls, metric: str | None, columns: Sequence[str]) -> None:
        """Raise `UserError` if `metric_for_best_model` is nothing this task's evaluation produces."""
        if metric is None:
            return
        # transformers would find a misspelt metric at the end of the first evaluation only.
        name = metric.removeprefix("eval_")
        known = ["loss", *cls.metric_names(columns)]
        if name not in known:
            raise UserError(
                f"metric_for_best_model {metric} is not a metric of {cls.name}{did_you_mean(name, known)}; "
                f"it has {', '.join(known)}"
            )

    def compute_metrics(self, logits: Any, labels: Any) -> dict[str, float]:
        """Return metrics by name from logits (N, *head_shape) and labels (N, ...)."""
        return self.metrics_of(self.reduce(logits, labels), labels)

    def reduce(self, logits: Any, labels: Any) -> Any:
        """Return what metrics need of a batch's logits (B, *head_shape): its predictions, unless the task needs more.

        An evaluation during training keeps this of each batch, instead of the logits of all rows.
        """
        return self.predictions(logits)

    @abstractmethod
    def metrics_of(self, reduced: Any, labels: Any) -> dict[str, float]:
        """Return metrics by name from what `reduce` gives (N, ...) and labels (N, ...)."""

    def check_finite(self, logits: Any) -> None:
        """Raise `RunError` for NaN and infinity, whose metrics may look like those of a poor model."""
        if not np.isfinite(self.flat(logits)).all():
            raise RunError(NOT_FINITE)

    # --- answers, as JSON and as columns ----------------------------------------------------------------------------

    @abstractmethod
    def decode(self, logits: Any) -> dict[str, Any]:
        """Return the answer for one row's output."""

    def answer(self, item: Any, output: Any) -> dict[str, Any]:
        """Return the answer for one row, from what `prepare` and `row_output` returned.

        A model that may say "I do not know" adds `rejected` and the `ood_score` that it was decided by.
        """
        answer = self.describe(item, output)
        if self.rejection is None:
            return answer
        (score,) = self.ood_scores([output], self.rejection.score).tolist()
        return {
            **answer,
            "rejected": score > self.rejection.threshold,
            "ood_score": round(score, 6),
        }

    def describe(self, item: Any, output: Any) -> dict[str, Any]:
        """Return the answer for one row as if every text could be answered."""
        return self.decode(output)

    def to_columns(self, output: Any, as_list: bool = False) -> dict[str, Any]:
        """Write one row's output as label columns, in the words (and numbers) of the training file.

        Args:
            output: of one row.
            as_list: write several labels as a JSON list, because the training file has lists.
        """
        chosen = np.atleast_1d(self.predictions(output[None])[0])
        values = [self.label_space.values[k] for k in chosen]
        return dict(zip(self.label_columns, values, strict=True))

    def probability_columns(self, output: Any) -> dict[str, float]:
        """Return `probability_<class>` of one row's output."""
        names = [f"probability_{name}" for name in self.label_space.classes]
        return rounded(names, self.probabilities(output, 1.0))


def class_answer(probabilities: Array, classes: Sequence[str], best: int) -> dict[str, Any]:
    """Return `{"label", "score", "probabilities"}`.

    Args:
        probabilities: (C,).
        classes: names.
        best: the index of the class that is the answer.
    """
    return {
        "label": classes[best],
        "score": round(float(probabilities[best]), 6),
        "probabilities": rounded(classes, probabilities),
    }


def rounded(names: Sequence[str], values: Array) -> dict[str, float]:
    """Return six decimals of each value by its name."""
    return {name: round(value, 6) for name, value in zip(names, values.tolist(), strict=True)}
