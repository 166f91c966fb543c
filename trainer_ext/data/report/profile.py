"""Profile a labelled file: rows, classes, gaps, repeats, lengths. One pass over the rows, none of which is kept."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, TypedDict

import numpy as np

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.duplicates import TextIndex, normalised
from trainer_ext.data.io.readers import Row
from trainer_ext.data.joint import raw_intent, tokens_and_tags
from trainer_ext.data.labelled import is_missing
from trainer_ext.data.report.lengths import Count, Lengths, Text
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.entities import entities
from trainer_ext.tasks.label_flags import ColumnShape, are_flags, flag_of
from trainer_ext.tasks.label_lists import labels_of
from trainer_ext.tasks.label_space import normalise
from trainer_ext.tasks.regression import to_number

BATCH = 1000  # texts that are measured at a time: tokenizers share a batch out among cores
GAPS_NAMED = 5  # rows that are named of each kind of gap
UNKNOWN_NAMED = 20
# With more different values a target is continuous, and counts of each say nothing.
DISTINCT_SCORES = 50


class Gap(TypedDict):
    """Rows without a value in a column, and where the first of them stand."""

    count: int
    first: list[str]


class ClassSummary(TypedDict):
    """Rows of each class, and how many times as common the largest is as the smallest that occurs."""

    counts: dict[str, int]
    imbalance_ratio: float | None


class TargetSummary(TypedDict):
    """Distribution of a regression target."""

    count: int
    mean: float
    std: float
    min: float
    p25: float
    p50: float
    p75: float
    max: float
    counts: dict[str, int]


class FileSummary(TypedDict):
    """What data_report.json says of a file; `duplicates` as `TextIndex.repeats`, `length` as `Lengths.summary`."""

    rows: int
    columns: list[str]
    classes: dict[str, ClassSummary]
    targets: dict[str, TargetSummary]
    unknown_labels: dict[str, dict[str, int]]
    missing: dict[str, Gap]
    duplicates: dict[str, Any]
    length: dict[str, Any]


class Profile:
    """Counts of a file, made row by row.

    Args:
        data: task, columns and label names.
        count: counts tokens; None: they are estimated.
    """

    def __init__(self, data: DataArguments, count: Count | None = None):
        self.data = data
        self.task = TASKS[data.task]
        several = len(data.label_columns) > 1
        self.has_label_lists = self.task.takes_lists and not several
        self.has_flag_columns = self.task.takes_lists and several
        self.space = self.named_space()
        self.rows = 0
        # Dictionaries without values keep the order in which columns were seen.
        self.columns: dict[str, None] = {}
        self.missing: dict[str, Gap] = {}
        self.unknown: dict[str, Counter[str]] = {}
        self.classes: dict[str, Counter[str]] = {}
        self.targets: dict[str, array[float]] = {}
        self.list_shape = ColumnShape()
        self.flag_counts: Counter[int] = Counter()
        self.lengths = Lengths(count)
        # Digests of the texts, as they are and after folding case and white space.
        self.exact = TextIndex()
        self.normal = TextIndex()
        if self.space is not None:
            # Zeros, so that a class that no row has is in the report.
            columns = ["labels"] if self.has_label_lists else data.label_columns
            zeros = dict.fromkeys(self.space.classes, 0)
            for column in columns:
                self.classes[column] = Counter(zeros)

    def named_space(self) -> LabelSpace | None:
        """Return the classes of `--label_names`; None if labels stand for themselves."""
        names = self.data.label_names
        if not names or not self.task.takes_label_names:
            return None
        space = LabelSpace.from_names(self.data.label_columns[:1], names)
        # The columns are the classes, and their values flags.
        if self.has_flag_columns:
            return None
        return space

    def read(self, rows: Iterable[Row]) -> "Profile":
        """Count all rows, and return this profile.

        Raises:
            UserError: with file and row, for labels that cannot be read.
        """
        batch: list[Text] = []
        for row in rows:
            text = self.count_row(row)
            if text is not None:
                batch.append(text)
            if len(batch) == BATCH:
                self.lengths.add(batch)
                batch = []
        if batch:
            self.lengths.add(batch)
        self.name_flags()
        return self

    def name_flags(self) -> None:
        """If all lists were flags of the classes, count by class instead of how often 0 and 1 occur."""
        names = self.space.classes if self.space else None
        flags = self.list_shape.flags(len(names) if names else None)
        if not flags:
            return
        by_class: Counter[str] = Counter()
        for place in range(flags):
            name = names[place] if names else str(place)
            by_class[name] = self.flag_counts[place]
        self.classes["labels"] = by_class
        # Until the last row the flags were taken for names, none of which is a class.
        self.unknown = {}

    def count_row(self, row: Row) -> Text | None:
        """Count one row, and return its text (its tokens if the task reads words); None if it has none."""
        self.rows += 1
        self.columns.update(dict.fromkeys(row.values))
        if self.task.reads_words:
            return self.count_tagged_row(row)
        labels = self.count_labels(row)
        text = row.values.get(self.data.text_column)
        if is_missing(text) or not isinstance(text, str):
            self.count_gap(self.data.text_column, row)
            return None
        if labels is not None:
            self.index_text(text, labels)
        return text

    def count_tagged_row(self, row: Row) -> list[str]:
        """Count the intent and the slots of a row of tokens, and return the tokens."""
        tokens, tags = tokens_and_tags(row)
        intent = raw_intent(row)
        self.count_class("intent", intent)
        for _, _, name in entities(tags):
            self.count_class("slots", name)
        self.index_text(" ".join(tokens), (intent, tags))
        return tokens

    def count_labels(self, row: Row) -> tuple[str, ...] | None:
        """Count the row's labels, and return them in a form that is equal for equal labels; None if one is missing."""
        columns = self.data.label_columns
        complete = True
        for column in columns:
            value = row.values.get(column)
            if self.is_gap(value):
                self.count_gap(column, row)
                complete = False
            else:
                self.count_label(row, column, value)
        if not complete:
            return None
        if not self.has_label_lists:
            return tuple(normalise(row.values[column]) for column in columns)
        labels = self.list_of(row, row.values[columns[0]])
        names = list(map(normalise, labels))
        # The order of flags says which classes they are of, that of names says nothing.
        if not are_flags(labels):
            names.sort()
        return tuple(names)

    def is_gap(self, value: Any) -> bool:
        """Return whether a label is missing; an empty list of labels is not."""
        if self.has_label_lists:
            return value is None
        return is_missing(value)

    def count_label(self, row: Row, column: str, value: Any) -> None:
        """Count the value of one label column."""
        if not self.task.has_classes:
            self.count_number(column, value)
        elif self.has_flag_columns:
            self.count_class("labels", column, flag_of(value) or 0)
        elif self.has_label_lists:
            self.count_list(row, column, self.list_of(row, value))
        else:
            self.count_class(column, self.class_of(column, value))

    def count_number(self, column: str, value: Any) -> None:
        """Add the score of a target, or count what is not a number."""
        number = to_number(value)
        if np.isfinite(number):
            self.targets.setdefault(column, array("d")).append(number)
        else:
            self.count_unknown(column, value)

    def list_of(self, row: Row, value: Any) -> list[Any]:
        """Return the labels of a row, or raise `UserError` naming it."""
        # A class may have a name that reads as a list.
        if self.space is not None and self.space.holds(value):
            return [value]
        try:
            return labels_of(value, self.data.label_separator)
        except UserError as error:
            raise UserError(f"{row.where}: {error}") from None

    def count_list(self, row: Row, column: str, labels: list[Any]) -> None:
        """Count each label as a name and, until all rows are known, as a flag of the class at its place."""
        try:
            self.list_shape.add(labels)
        except UserError as error:
            raise UserError(f"{row.where}: {error}") from None
        for place, label in enumerate(labels):
            self.count_class("labels", self.class_of(column, label))
            self.flag_counts[place] += flag_of(label) or 0

    def class_of(self, column: str, value: Any) -> str | None:
        """Return the class of a raw label, without label names the label itself; None for an unknown one."""
        if self.space is None:
            return normalise(value)
        try:
            return self.space.classes[self.space.encode(value)]
        except KeyError:
            self.count_unknown(column, value)
            return None

    def count_unknown(self, column: str, value: Any) -> None:
        """Count a label that is not a class, or a score that is not a number."""
        self.unknown.setdefault(column, Counter())[str(value)] += 1

    def count_class(self, column: str, name: str | None, count: int = 1) -> None:
        """Count one label; None, an unknown one, is not counted."""
        if name is not None:
            self.classes.setdefault(column, Counter())[name] += count

    def count_gap(self, column: str, row: Row) -> None:
        """Count a missing value, and keep the places of the first ones."""
        gap = self.missing.setdefault(column, {"count": 0, "first": []})
        gap["count"] += 1
        if len(gap["first"]) < GAPS_NAMED:
            # Without the file's name, under which it stands.
            place = row.where.rpartition(", ")[2]
            gap["first"].append(place)

    def index_text(self, text: str, labels: object) -> None:
        """Remember digests of the text, as it is and normalised."""
        self.exact.add(text.strip(), labels)
        self.normal.add(normalised(text), labels)

    def summary(self) -> FileSummary:
        """Return what data_report.json says of the file."""
        classes = {}
        for column, counts in self.classes.items():
            classes[column] = class_summary(counts)
        targets = {}
        for column, scores in self.targets.items():
            targets[column] = target_summary(scores)
        unknown = {}
        for column, labels in self.unknown.items():
            unknown[column] = dict(labels.most_common(UNKNOWN_NAMED))
        return {
            "rows": self.rows,
            "columns": list(self.columns),
            "classes": classes,
            "targets": targets,
            "unknown_labels": unknown,
            "missing": self.missing,
            "duplicates": {**self.normal.repeats(), "exact": self.exact.repeats()},
            "length": self.lengths.summary(),
        }


def class_summary(counts: Counter[str]) -> ClassSummary:
    """Summarize the classes of a column, commonest first, equally common ones by name."""
    by_name = Counter(dict(sorted(counts.items())))
    # Stable: equally common classes stay in the order of their names.
    ordered = dict(by_name.most_common())
    # Not the classes of --label_names that no row has.
    occurring = list(filter(None, ordered.values()))
    ratio = None
    if occurring:
        ratio = round(occurring[0] / occurring[-1], 2)
    return {"counts": ordered, "imbalance_ratio": ratio}


def target_summary(values: Sequence[float]) -> TargetSummary:
    """Summarize a regression target; counts of each score only if there are few different ones."""
    scores = np.asarray(values)
    points = np.percentile(scores, (0, 25, 50, 75, 100))
    distinct, occurrences = np.unique(scores, return_counts=True)
    counts = {}
    if len(distinct) <= DISTINCT_SCORES:
        for score, count in zip(distinct, occurrences, strict=True):
            counts[f"{score:g}"] = int(count)
    return {
        "count": len(scores),
        "mean": round(float(scores.mean()), 4),
        "std": round(float(scores.std()), 4),
        "min": round(float(points[0]), 4),
        "p25": round(float(points[1]), 4),
        "p50": round(float(points[2]), 4),
        "p75": round(float(points[3]), 4),
        "max": round(float(points[4]), 4),
        "counts": counts,
    }


def shared_texts(profiles: Mapping[str, Profile]) -> Iterator[dict[str, Any]]:
    """Yield what each two files share: texts that are the same after folding case and white space, and `exact` ones."""
    for (first, one), (second, other) in combinations(profiles.items(), 2):
        shared = one.normal.shared(other.normal)
        exact = one.exact.shared(other.exact)
        yield {"first": first, "second": second, **shared, "exact": exact}
