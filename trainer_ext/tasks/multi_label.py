"""Any number of labels a text, also none."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.files import json_text
from trainer_ext.tasks.activations import Array, logit, sigmoid
from trainer_ext.tasks.base import Task, rounded
from trainer_ext.tasks.calibration import Calibration, expected_calibration_error, fit_thresholds
from trainer_ext.tasks.decisions import Decisions, FlagDecisions
from trainer_ext.tasks.figures import Figure, ScoreBars
from trainer_ext.tasks.label_flags import ColumnShape, are_flags, flag_of
from trainer_ext.tasks.label_lists import as_list, check_repeats, labels_of
from trainer_ext.tasks.label_space import LabelSpace, is_number, normalise
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tasks.rejection import sigmoid_scores
from trainer_ext.tasks.tallies import COUNTS, Metrics, f1_of_counts, flag_counts

THRESHOLD = 0.5


class MultiLabel(Task):
    """Logits (C,): each class by itself is there (sigmoid above the threshold) or not.

    Labels are one column with a list (of labels, or of a flag for each class), or one 0/1 column per class.
    """

    name = "multi_label"
    default_metric = "f1_macro"
    problem_type = "multi_label_classification"
    takes_lists = True
    loss_family = "binary_cross_entropy"
    calibrations = ("temperature", "thresholds", "both")
    can_balance = True
    answers_by_class = True
    class_key = "labels"

    # --- labels -----------------------------------------------------------------------------------------------------

    @classmethod
    def make_space(
        cls,
        columns: Sequence[str],
        names: Sequence[str] | None,
        rows: Iterable[Sequence[Any]],
        separator: str = ",",
    ) -> LabelSpace:
        """Return a space in which several columns are the classes, which `names` may rename, or one column lists them.

        Raises:
            UserError: if there are several columns and not as many names.
        """
        columns = tuple(columns)
        if len(columns) == 1:
            return cls.space_of_lists(columns, names, rows, separator)
        classes = tuple(normalise(name) for name in names or columns)
        if len(classes) != len(columns):
            raise UserError(
                f"label_names gives {len(classes)} names for {len(columns)} label columns"
            )
        return LabelSpace(columns, classes, classes, separator=separator)

    @classmethod
    def space_of_lists(
        cls,
        columns: tuple[str, ...],
        names: Sequence[str] | None,
        rows: Iterable[Sequence[Any]],
        separator: str,
    ) -> LabelSpace:
        """Return the space of one column of lists, which hold labels or flags."""
        values = (value for (value,) in rows)
        if names:
            space = LabelSpace.from_names(columns, names)
            flags = shape_of(values, space, separator).flags(len(space.classes))
        else:
            shape = shape_of(values, None, separator)
            flags = shape.flags()
            # Flags have no names: classes are called by their position.
            found = map(str, range(flags)) if flags else shape.names
            space = LabelSpace.from_values(columns, found)
        return LabelSpace(
            columns, space.classes, space.values, separator=separator, flags=bool(flags)
        )

    def with_columns(self, columns: Sequence[str]) -> Task:
        """Return the task for a file with a column of lists, or with a 0/1 column for each class.

        Columns that are called as the classes may come in any order; others are taken in the order of the classes.

        Raises:
            UserError: for another number of columns, and for some that are classes beside some that are not.
        """
        if set(columns) == set(self.label_space.columns):
            return self
        classes = self.label_space.classes
        found = [normalise(column) for column in columns]
        if len(columns) == 1:
            space = replace(self.label_space, columns=tuple(columns))
            return MultiLabel(space, self.calibration, self.rejection)
        if len(columns) != len(classes):
            raise UserError(
                f"label_columns {', '.join(columns)}: expected one column of lists, or one for each "
                f"of the {len(classes)} classes"
            )
        strangers = [name for name in found if name not in classes]
        # Half of the names by chance in the right place would be wrong without a word.
        if strangers and len(strangers) < len(found):
            raise UserError(f"label_columns: {strangers[0]!r} is not a class of the model")
        ordered = list(columns)
        if not strangers:
            ordered.sort(key=lambda column: classes.index(normalise(column)))
        space = replace(self.label_space, columns=tuple(ordered))
        return MultiLabel(space, self.calibration, self.rejection)

    def encode(self, values: Sequence[Any]) -> list[int]:
        """Return 1 for each class that is there, else 0."""
        columns = self.label_space.columns
        if len(columns) > 1:
            pairs = zip(columns, values, strict=True)
            return [self.encode_flag(column, value) for column, value in pairs]
        flags = [0] * len(self.label_space.classes)
        for label in self.labels_in(columns[0], values[0]):
            flags[self.encode_one(columns[0], label)] = 1
        return flags

    def encode_flag(self, column: str, value: Any) -> int:
        """Return a 0/1 column's value, or raise `UserError` naming column and value."""
        flag = flag_of(value)
        if flag is None:
            raise UserError(f"column {column!r} has {value!r}; expected 0 or 1")
        return flag

    def labels_in(self, column: str, value: Any) -> list[Any]:
        """Return the labels of one row's list, or of its flags.

        Raises:
            UserError: naming the column and the value.
        """
        # Asked first: the name of a class may hold the separator.
        if self.label_space.holds(value):
            return [value]
        try:
            labels = labels_of(value, self.label_space.separator)
            # Read as the training rows were, even if this row's flags could be class ids.
            if self.label_space.flags:
                return self.flagged(labels)
            if as_list(value) is not None:
                check_repeats(labels)
        except UserError as error:
            raise UserError(f"column {column!r}: {error}") from None
        return labels

    def flagged(self, labels: list[Any]) -> list[Any]:
        """Return the classes whose flags are set; a list of names is taken as well.

        Raises:
            UserError: for another number of flags than classes, or other values.
        """
        classes = self.label_space.classes
        if are_flags(labels) and len(labels) == len(classes):
            return [name for name, flag in zip(classes, labels, strict=True) if flag_of(flag)]
        if labels and all(self.is_name(label) for label in labels):
            return labels
        raise UserError(
            f"{labels!r:.80} is not a list of {len(classes)} flags, 0 or 1, one for each class"
        )

    def is_name(self, label: Any) -> bool:
        """Return whether an item of a list names a class; a number may be a flag."""
        text = str(label)
        return self.label_space.holds(text) and not is_number(text)

    def is_label(self, value: str) -> bool:
        """Return whether every part of a text is a label; so is an empty one."""
        if super().is_label(value):
            return True
        try:
            parts = labels_of(value, self.label_space.separator)
        except UserError:
            return False
        return all(map(super().is_label, parts))

    def join(self, labels: Sequence[str]) -> str:
        """Write labels as a cell of csv: joined; as JSON if that is read otherwise; as flags if classes are numbers."""
        space = self.label_space
        if space.flags and all(map(is_number, space.classes)):
            return json.dumps([int(name in labels) for name in space.classes])
        text = space.separator.join(labels)
        try:
            is_read_back = labels_of(text, space.separator) == list(labels)
        except UserError:
            is_read_back = False
        # Two labels, joined, may be the name of a third.
        is_other_name = len(labels) != 1 and space.holds(text)
        if is_read_back and not is_other_name:
            return text
        return json.dumps(list(labels), ensure_ascii=False)

    def strata_flags(self, labels: Sequence[Any]) -> Array:
        """Return the flags (N, C) themselves."""
        return np.asarray(labels)

    @classmethod
    def classes_to_balance(cls, labels: Sequence[Any] | Array) -> Array:
        """Return (N, C + 1): 0 for a class that is set, else -1; the last column is of rows without any class."""
        flags = np.asarray(labels).astype(bool)
        none = ~flags.any(axis=1, keepdims=True)
        # One byte each: a million rows of hundreds of classes have to fit in memory.
        is_set: Array = np.hstack([flags, none]).astype(np.int8)
        is_set -= 1
        return is_set

    def count_labels(self, labels: Array) -> Array:
        """Return how often each class is set, (C,)."""
        counts: Array = labels.sum(axis=0)
        return counts

    # --- the model's outputs ----------------------------------------------------------------------------------------

    @property
    def head_shape(self) -> tuple[int, ...]:
        """(classes,)"""
        return (len(self.label_space.classes),)

    @classmethod
    def metric_names(cls, columns: Sequence[str]) -> list[str]:
        """Return F1, exact match and ROC-AUC; `f1_<class>` is reported too, but is known only with the data."""
        return ["f1_micro", "f1_macro", "exact_match", "roc_auc_macro"]

    def reduce(self, logits: Array, labels: Array) -> Array:
        """Return the logits."""
        # ROC-AUC is computed from scores, not from predictions.
        return logits

    def metrics_of(self, reduced: Array, labels: Array) -> dict[str, float]:
        """Return f1_micro, f1_macro, f1_<class>, exact_match and roc_auc_macro from logits and flags (N, C)."""
        from trainer_ext.tasks.metrics import ExactMatch, MultiLabelF1, RocAuc

        given = {"predictions": self.predictions(reduced), "references": labels}
        return {
            **MultiLabelF1(self.label_space.classes).compute(**given),
            **ExactMatch().compute(**given),
            **RocAuc().compute(predictions=sigmoid(reduced), references=labels),
        }

    def is_right(self, reduced: Array, labels: Array) -> Array | None:
        """Return for each row whether all of its flags are predicted (N,)."""
        return super().is_right(self.predictions(reduced), labels)

    def tally(self, reduced: Array, labels: Array) -> Array:
        """Return the counts of each class, and whether all flags of the row are right, (N, 3 C + 1)."""
        predicted = self.predictions(reduced)
        counts = flag_counts(predicted, labels).reshape(len(predicted), -1)
        # Of probabilities: that of the predicted flags, if the classes are independent.
        of_flags = np.where(predicted == 1, labels, 1 - labels)
        is_exact = of_flags.prod(axis=1, keepdims=True)
        return np.hstack([counts, is_exact, np.ones_like(is_exact)])

    def metrics_of_sums(self, sums: Array) -> Metrics:
        """Return f1_micro, f1_macro, f1_<class> and exact_match."""
        counts = sums[:, :-2].reshape(len(sums), -1, COUNTS)
        by_class = f1_of_counts(counts)
        metrics = {
            "f1_micro": f1_of_counts(counts.sum(axis=1)),
            "f1_macro": by_class.mean(axis=1),
            "exact_match": sums[:, -2] / sums[:, -1],
        }
        for index, name in enumerate(self.label_space.classes):
            metrics[f"f1_{name}"] = by_class[:, index]
        return metrics

    def soft_labels(self, logits: Array) -> Array:
        """Return the probability of each class (N, C)."""
        return self.probabilities(logits, self.calibration.temperature)

    def predictions(self, logits: Array) -> Array:
        """Return flags (N, C)."""
        thresholds = np.array(self.calibration.thresholds or THRESHOLD)
        probabilities = self.probabilities(logits, self.calibration.temperature)
        return (probabilities > thresholds).astype(np.int64)

    def probabilities(self, logits: Array, temperature: float) -> Array:
        """Return the probability of each class by itself."""
        return sigmoid(logits / temperature)

    def nll(self, logits: Array, labels: Array, temperature: float) -> float:
        """Return the mean binary cross entropy."""
        # log(1 + exp(-z)) for a positive label, log(1 + exp(z)) for a negative one.
        against = np.where(labels == 1, -logits, logits)
        return float(np.logaddexp(0, against / temperature).mean())

    def ece(self, logits: Array, labels: Array, temperature: float) -> float:
        """Return the expected calibration error over every class of every row."""
        probabilities = self.probabilities(logits, temperature)
        return expected_calibration_error(probabilities.ravel(), labels.ravel())

    def fit_decision(self, logits: Array, labels: Array) -> Calibration:
        """Return a threshold for each class, for its F1."""
        return Calibration(thresholds=fit_thresholds(sigmoid(logits), labels))

    def logit_scores(self, logits: Array, score: str) -> Array:
        """Return how strange each row is (N,), where any number of classes may be true."""
        return sigmoid_scores(logits, self.calibration.temperature, score)

    def decode(self, logits: Array) -> dict[str, Any]:
        """Return `{"labels": [...], "probabilities": {class: p}}`, labels in the order of the classes."""
        classes = self.label_space.classes
        probabilities = self.probabilities(logits, self.calibration.temperature)
        return {
            "labels": self.chosen(classes, self.predictions(logits)),
            "probabilities": rounded(classes, probabilities),
        }

    def to_columns(self, output: Array, as_list: bool = False) -> dict[str, Any]:
        """Write a 0/1 column for each class, or one column with flags, a list or joined names."""
        space = self.label_space
        flags = self.predictions(output[None])[0].tolist()
        if len(space.columns) > 1:
            return dict(zip(space.columns, flags, strict=True))
        (column,) = space.columns
        if space.flags:
            return {column: json_text(flags)}
        labels = self.chosen(space.values, flags)
        if as_list:
            return {column: json_text(labels)}
        return {column: self.join(labels)}

    @staticmethod
    def chosen(names: Sequence[str], flags: Iterable[Any]) -> list[str]:
        """Return the names whose flag is set."""
        return [name for name, flag in zip(names, flags, strict=True) if flag]

    def from_ensemble_values(self, values: Array) -> Array:
        """Return the logits whose sigmoid these probabilities are."""
        return logit(values)

    def decision_logits(self, logits: Array) -> Array:
        """Move each class's threshold to 0.5."""
        if self.calibration.thresholds is None:
            return logits
        moved: Array = logits - logit(np.array(self.calibration.thresholds))
        return moved

    def votes(self, logits: Array) -> Array:
        """Return the predictions, which are 0 and 1 already."""
        return self.predictions(logits)

    def confidence(self, logits: Array) -> float:
        """Return the probability of the least certain decision: that a class is there, or that it is not."""
        probabilities = self.probabilities(logits, self.calibration.temperature)
        of_decisions = np.where(self.votes(logits), probabilities, 1 - probabilities)
        return float(of_decisions.min())

    def decisions(self, scored: ScoredRows) -> list[Decisions]:
        """Describe the flags."""
        true, predicted = self.true_and_predicted(scored)
        classes, temperature = self.label_space.classes, self.calibration.temperature
        return [FlagDecisions(classes, true, predicted, scored["logits"], temperature)]

    def class_pairs(self, scored: ScoredRows) -> None:
        """Return None: a row may have several classes."""

    def figures(self, scored: ScoredRows) -> list[Figure]:
        """Describe the F1 of each class."""
        metrics = scored["metrics"]
        by_class = {name: metrics[f"f1_{name}"] for name in self.label_space.classes}
        title = "validation F1 by class"
        return [ScoreBars(by_class, metrics["f1_macro"], title, "f1_by_class.png")]

    @property
    def example_columns(self) -> tuple[str, ...]:
        """One column of names, whatever columns they were read from."""
        return ("labels",)

    def readable(self, labels: Array) -> list[str]:
        """Return the names of the classes that are set, joined."""
        return [", ".join(self.chosen(self.label_space.classes, labels))]


def shape_of(values: Iterable[Any], space: LabelSpace | None, separator: str) -> ColumnShape:
    """Return what the lists of a column have in common; with known labels, read only as far as it takes to tell."""
    shape = ColumnShape()
    for value in values:
        # A name may hold the separator, and must not be cut there.
        if space is not None and space.holds(value):
            shape.only_flags = False
        else:
            shape.add(labels_of(value, separator))
        # If the names are known, all that is left to learn is whether the lists are flags.
        if space is not None and not shape.only_flags:
            break
    return shape
