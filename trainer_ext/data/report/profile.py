"""What a labelled file holds: rows, classes, gaps, repeats, lengths. One pass over the rows, none of them kept."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from trainer_ext.arguments.data import DataArguments
from trainer_ext.data.duplicates import TextIndex, normalised
from trainer_ext.data.io.readers import Row
from trainer_ext.data.joint import raw_intent, tokens_and_tags
from trainer_ext.data.labelled import is_missing
from trainer_ext.data.report.lengths import Count, Lengths
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.entities import entities
from trainer_ext.tasks.label_flags import ColumnShape, are_flags, flag_of
from trainer_ext.tasks.label_lists import labels_of
from trainer_ext.tasks.label_space import normalise
from trainer_ext.tasks.regression import to_number

BATCH = 1000
NAMED = 5  # rows that are named for each kind of gap


class Profile:
    """A file's rows looked at one after another.

    Args:
        data: task, columns and label names.
        count: counts tokens; None: an estimate.
    """

    def __init__(self, data: DataArguments, count: Count | None = None):
        self.data = data
        self.rows = 0
        self.columns: dict[str, None] = {}
        self.missing: dict[str, dict[str, Any]] = {}
        self.unknown: dict[str, Counter[str]] = {}
        self.classes: dict[str, Counter[str]] = {}
        self.targets: dict[str, array] = {}
        self.shape, self.flagged = ColumnShape(), Counter[int]()
        self.lengths = Lengths(count)
        self.exact, self.normal = TextIndex(), TextIndex()
        self.task = TASKS[data.task]
        names = data.label_names if self.task.takes_label_names else None
        self.space = LabelSpace.from_names(data.label_columns[:1], names) if names else None
        if self.task.takes_lists and len(data.label_columns) > 1:
            self.space = None
        if self.space is not None:
            kinds = ["labels"] if self.task.takes_lists else data.label_columns
            self.classes = {
                column: Counter(dict.fromkeys(self.space.classes, 0)) for column in kinds
            }

    def read(self, rows: Iterable[Row]) -> "Profile":
        """Look at all rows; returns itself."""
        rows = iter(rows)
        while batch := list(islice(rows, BATCH)):
            texts = [text for row in batch if (text := self.look_at(row)) is not None]
            if texts:
                self.lengths.add(texts)
        self.name_flags()
        return self

    def name_flags(self) -> None:
        """Where lists turn out to be flags of the classes: the classes, not how often 0 and 1 occur."""
        flags = self.shape.flags(len(self.space.classes) if self.space else None)
        if flags:
            names = self.space.classes if self.space else [str(k) for k in range(flags)]
            self.classes["labels"] = Counter(
                {name: self.flagged[k] for k, name in enumerate(names)}
            )
            self.unknown = {}

    def look_at(self, row: Row) -> str | list[str] | None:
        """Count one row; its text (tokens for joint), or None where there is none."""
        self.rows += 1
        self.columns.update(dict.fromkeys(row.values))
        if self.task.reads_words:
            tokens, tags = tokens_and_tags(row)
            intent = raw_intent(row)
            self.count_class("intent", intent)
            for _, _, name in entities(tags):
                self.count_class("slots", name)
            self.index(" ".join(tokens), (intent, tags))
            return tokens
        label = self.label_of(row)
        text = row.values.get(self.data.text_column)
        if is_missing(text) or not isinstance(text, str):
            self.gap(self.data.text_column, row)
            return None
        if label is not None:
            self.index(text, label)
        return text

    def label_of(self, row: Row) -> tuple | None:
        """The row's labels, counted; None where one is missing."""
        columns, task = self.data.label_columns, self.task
        raw = [row.values.get(column) for column in columns]
        whole = True
        for column, value in zip(columns, raw, strict=True):
            if is_missing(value) and not (
                task.takes_lists and len(columns) == 1 and value is not None
            ):
                self.gap(column, row)
                whole = False
            elif not task.has_classes:
                number = to_number(value)
                if np.isfinite(number):
                    self.targets.setdefault(column, array("d")).append(number)
                else:
                    self.strange(column, value)
            elif task.takes_lists and len(columns) > 1:
                self.count_class("labels", column, flag_of(value) or 0)
            elif task.takes_lists:
                self.count_list(row, column, self.list_of(row, value))
            else:
                self.count_class(column, self.name_of(column, value))
        if not whole:
            return None
        if task.takes_lists and len(columns) == 1:
            labels = self.list_of(row, raw[0])
            names = [normalise(name) for name in labels]
            return tuple(
                names if are_flags(labels) else sorted(names)
            )  # the order of flags says which classes
        return tuple(normalise(value) for value in raw)

    def list_of(self, row: Row, value: Any) -> list:
        """The labels of a row, or a `UserError` naming it."""
        if self.space is not None and self.space.holds(value):
            return [value]
        try:
            return labels_of(value, self.data.label_separator)
        except UserError as error:
            raise UserError(f"{row.where}: {error}") from None

    def count_list(self, row: Row, column: str, labels: list) -> None:
        """Count each label, and each place with a 1."""
        try:
            self.shape.add(labels)
        except UserError as error:
            raise UserError(f"{row.where}: {error}") from None
        for place, name in enumerate(labels):
            self.count_class("labels", self.name_of(column, name))
            self.flagged[place] += flag_of(name) or 0

    def name_of(self, column: str, value: Any) -> str | None:
        """The class of a raw label; without label names the label itself."""
        if self.space is None:
            return normalise(value)
        try:
            return self.space.classes[self.space.encode(value)]
        except KeyError:
            return self.strange(column, value)

    def strange(self, column: str, value: Any) -> None:
        """Count a label that is none."""
        self.unknown.setdefault(column, Counter())[str(value)] += 1

    def count_class(self, column: str, name: str | None, count: int = 1) -> None:
        """Count one label."""
        if name is not None:
            self.classes.setdefault(column, Counter())[name] += count

    def gap(self, column: str, row: Row) -> None:
        """Note a missing value and its place."""
        known = self.missing.setdefault(column, {"count": 0, "first": []})
        known["count"] += 1
        if len(known["first"]) < NAMED:
            known["first"].append(row.where.rpartition(", ")[2])

    def index(self, text: str, label: Any) -> None:
        """Remember the text's digests."""
        self.exact.add(text.strip(), label)
        self.normal.add(normalised(text), label)

    def summary(self) -> dict[str, Any]:
        """As it stands in data_report.json."""
        return {
            "rows": self.rows,
            "columns": list(self.columns),
            "classes": {name: class_summary(counts) for name, counts in self.classes.items()},
            "targets": {name: target_summary(values) for name, values in self.targets.items()},
            "unknown_labels": {
                name: dict(counts.most_common(20)) for name, counts in self.unknown.items()
            },
            "missing": self.missing,
            "duplicates": self.normal.repeats() | {"exact": self.exact.repeats()},
            "length": self.lengths.summary(),
        }


def class_summary(counts: Counter[str]) -> dict[str, Any]:
    """Counts, commonest first, and how many times as common the largest class is as the smallest that occurs."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    there = [count for _, count in ordered if count]
    ratio = round(there[0] / there[-1], 2) if there else None
    return {"counts": dict(ordered), "imbalance_ratio": ratio}


def target_summary(values: Sequence[float]) -> dict[str, Any]:
    """Distribution of a regression target."""
    scores = np.asarray(values)
    named = {"mean": scores.mean(), "std": scores.std()}
    named |= dict(
        zip(
            ("min", "p25", "p50", "p75", "max"),
            np.percentile(scores, (0, 25, 50, 75, 100)),
            strict=True,
        )
    )
    distinct, counts = np.unique(scores, return_counts=True)
    shown = zip(distinct.tolist(), counts.tolist(), strict=True) if len(distinct) <= 50 else ()
    return {
        "count": len(scores),
        **{name: round(float(value), 4) for name, value in named.items()},
        "counts": {f"{value:g}": count for value, count in shown},
    }


def pairs(profiles: Sequence[tuple[str, Profile]]) -> Iterator[dict[str, Any]]:
    """For each two files the texts they share, the same after folding case and white space (`exact`: as they are)."""
    for k, (first, one) in enumerate(profiles):
        for second, other in profiles[k + 1 :]:
            shared = one.normal.shared(other.normal)
            yield {
                "first": first,
                "second": second,
                **shared,
                "exact": one.exact.shared(other.exact),
            }
