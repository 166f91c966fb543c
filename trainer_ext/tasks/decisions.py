"""What a model decided on labelled rows, in one form for all tasks: how sure, how wrong, and what it mixed up.

A task describes its answers as one or several of three kinds: one class for each item (texts, an aspect of each text,
words), flags for each row, or numbers for each row. Reports are written for these kinds, not for tasks. Everything that
has one number an item is computed in blocks, so that a report does not hold the probabilities of all rows.

Shapes: N rows, M items, C classes, T targets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from trainer_ext.tasks.activations import Array, sigmoid, softmax
from trainer_ext.tasks.entities import entities
from trainer_ext.tasks.tallies import ratio

BLOCK = 65_536
"""Items whose probabilities are in memory at a time."""
LEAST = 1e-12
"""A probability below this counts as this, which bounds the loss of a row; so does a label that is not known."""
UNSEEN = "(unseen)"
BINS = 10  # of the reliability diagram
SHOWN_PARTS = 5  # wrong aspects, words or targets of a row that are written out


class Items(NamedTuple):
    """One number for each item (M,).

    `loss` is the negative log-likelihood in nats, `margin` the probability of what is true less that of the most
    probable other class, `confidence` the probability of the most probable class.
    """

    loss: Array
    margin: Array
    confidence: Array


class RowScores(NamedTuple):
    """One number for each row (N,): the sum of its items' losses, their smallest margin, whether all are right."""

    loss: Array
    margin: Array
    is_right: Array


def blocks(size: int) -> Iterator[slice]:
    """Yield slices that cover `size` items."""
    for start in range(0, size, BLOCK):
        yield slice(start, start + BLOCK)


@dataclass(frozen=True)
class ClassDecisions:
    """One class for each item.

    Attributes:
        part: the aspect or head that is decided; empty if a row has one decision.
        classes: names.
        rows: (M,) the row of each item, ascending.
        true: (M,) class indices; below zero for a label that is not known.
        predicted: (M,).
        logits: (M, C).
        temperature: by which they are divided.
    """

    part: str
    classes: Sequence[str]
    rows: Array
    true: Array
    predicted: Array
    logits: Array
    temperature: float = 1.0

    def probabilities(self, which: Any) -> Array:
        """Return probabilities (K, C) of the items that a slice or indices choose."""
        return softmax(self.logits[which] / self.temperature)

    @cached_property
    def items(self) -> Items:
        """Loss, margin and confidence of each item."""
        parts = []
        for block in blocks(len(self.true)):
            parts.append(self._items_of(block))
        # np.concatenate refuses an empty list.
        if not parts:
            return Items(*np.zeros((3, 0)))
        return Items(*map(np.concatenate, zip(*parts, strict=True)))

    def _items_of(self, block: slice) -> Items:
        probabilities = self.probabilities(block)
        true = self.true[block]
        places = np.arange(len(true))
        is_known = true >= 0
        confidence = probabilities.max(axis=1)
        of_true = np.where(is_known, probabilities[places, true], 0.0)
        # What is left without the true class; an unknown label leaves all.
        others = probabilities
        others[places[is_known], true[is_known]] = 0.0
        margin = of_true - others.max(axis=1)
        return Items(-np.log(of_true.clip(min=LEAST)), margin, confidence)

    def by_row(self, count: int) -> RowScores:
        """Return the scores of `count` rows."""
        loss = np.bincount(self.rows, weights=self.items.loss, minlength=count)
        margin = np.ones(count)
        np.minimum.at(margin, self.rows, self.items.margin)
        wrong = np.bincount(self.rows, weights=self.predicted != self.true, minlength=count)
        return RowScores(loss, margin, wrong == 0)

    def reliability(self) -> Array:
        """Return `bins_of` the confidence of each decision, and whether the most probable class is right."""
        return bins_of(self.items.confidence, self.items.margin > 0)

    def scores(self) -> list[dict[str, Any]]:
        """Return precision, recall and F1 of each class, and in how many items it is true."""
        size = len(self.classes)
        is_right = self.predicted == self.true
        both = np.bincount(self.predicted[is_right], minlength=size)
        predicted = np.bincount(self.predicted, minlength=size)
        true = np.bincount(self.true[self.true >= 0], minlength=size)
        return score_records(self.part, self.classes, np.stack([both, predicted, true], axis=1))

    def confusions(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield (part, true class, predicted class, items), the most frequent first."""
        size = len(self.classes)
        codes = (self.true + 1) * size + self.predicted
        # Sorted instead of a matrix: of a thousand classes hardly any two are mixed up.
        found, counts = np.unique(
            np.where(self.true < 0, self.predicted, codes), return_counts=True
        )
        for k in np.argsort(-counts, kind="stable"):
            true, predicted = divmod(int(found[k]), size)
            yield self.part, self.name(true - 1), self.name(predicted), int(counts[k])

    def name(self, index: int) -> str:
        """Return the class of an index."""
        return UNSEEN if index < 0 else self.classes[index]

    def item_name(self, item: int, words: Any) -> str:
        """Return what an item is called among those of its row."""
        return self.part

    def differences(self, row: int, words: Any) -> tuple[list[str], list[str]]:
        """Return what is true and what was predicted in a row, of the items that are wrong; of one item in any case.

        Args:
            row: its number.
            words: the row's input.
        """
        items = np.flatnonzero(self.rows == row)
        true = []
        predicted = []
        for item in items:
            # Of a row with one decision also what is right: it may be among the hardest for its small margin.
            if self.part and self.true[item] == self.predicted[item]:
                continue
            before = self.item_name(int(item), words)
            before = f"{before}: " if before else ""
            true.append(before + self.name(int(self.true[item])))
            predicted.append(before + self.name(int(self.predicted[item])))
        return true, predicted


@dataclass(frozen=True)
class TagDecisions(ClassDecisions):
    """One tag for each word, which together make slots."""

    def item_name(self, item: int, words: Any) -> str:
        """Return the word."""
        first = int(np.searchsorted(self.rows, self.rows[item]))
        return str(list(words)[item - first])

    def scores(self) -> list[dict[str, Any]]:
        """Return precision, recall and F1 of each slot, counted as whole slots, and how many there are."""
        # By name: a tag that no training row has makes a slot of its own.
        counts: dict[str, list[int]] = {}
        starts = np.flatnonzero(np.diff(self.rows, prepend=-1))
        pairs = zip(np.split(self.true, starts), np.split(self.predicted, starts), strict=True)
        for true_tags, predicted_tags in pairs:
            true = entities([self.tag(tag) for tag in true_tags])
            predicted = entities([self.tag(tag) for tag in predicted_tags])
            found = set(true) & set(predicted)
            for place, slots in enumerate((found, predicted, true)):
                for *_, name in slots:
                    counts.setdefault(name, [0, 0, 0])[place] += 1
        names = sorted(counts)
        table = np.array([counts[name] for name in names]).reshape(-1, 3)
        return score_records(self.part, names, table)

    def tag(self, index: int) -> str:
        """Return the tag of an index; one that is not known is a slot of its own."""
        return "B-" + UNSEEN if index < 0 else self.classes[index]


@dataclass(frozen=True)
class FlagDecisions:
    """A flag for each class of each row.

    Attributes:
        classes: names.
        true: (N, C) 0 or 1.
        predicted: (N, C).
        logits: (N, C).
        temperature: by which they are divided.
    """

    classes: Sequence[str]
    true: Array
    predicted: Array
    logits: Array
    temperature: float = 1.0
    part: str = ""

    def probabilities(self, which: Any) -> Array:
        """Return the probability of each class (K, C) in the rows that a slice or indices choose."""
        return sigmoid(self.logits[which] / self.temperature)

    def by_row(self, count: int) -> RowScores:
        """Return the scores of all rows; the margin is of the flag that is most certainly wrong."""
        losses = []
        margins = []
        for block in blocks(count):
            probabilities = self.probabilities(block)
            of_true = np.where(self.true[block] == 1, probabilities, 1 - probabilities)
            losses.append(-np.log(of_true.clip(min=LEAST)).sum(axis=1))
            margins.append((2 * of_true - 1).min(axis=1))
        is_right = (self.predicted == self.true).all(axis=1)
        return RowScores(np.concatenate(losses), np.concatenate(margins), is_right)

    def reliability(self) -> Array:
        """Return `bins_of` the probability of each flag, and whether it is set."""
        total = np.zeros((BINS, 3))
        for block in blocks(len(self.true)):
            total += bins_of(self.probabilities(block).ravel(), self.true[block].ravel() == 1)
        return total

    def scores(self) -> list[dict[str, Any]]:
        """Return precision, recall and F1 of each class, and in how many rows it is set."""
        both = (self.predicted * self.true).sum(axis=0)
        counts = np.stack([both, self.predicted.sum(axis=0), self.true.sum(axis=0)], axis=1)
        return score_records("", self.classes, counts)

    def confusions(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield (class, true flag, predicted flag, rows), 1 or 0 each."""
        for k, name in enumerate(self.classes):
            codes = 2 * self.true[:, k] + self.predicted[:, k]
            for code, count in enumerate(np.bincount(codes.astype(int), minlength=4)):
                yield name, str(code // 2), str(code % 2), int(count)

    def differences(self, row: int, words: Any) -> tuple[list[str], list[str]]:
        """Return the names of the classes that are true and of those that were predicted."""
        return self.names(self.true[row]), self.names(self.predicted[row])

    def names(self, flags: Array) -> list[str]:
        """Return the names of the classes that are set."""
        return [self.classes[k] for k in np.flatnonzero(flags).tolist()]


@dataclass(frozen=True)
class NumberDecisions:
    """A number for each target of each row: true and predicted, (N, T) each."""

    targets: Sequence[str]
    true: Array
    predicted: Array
    part: str = ""

    @property
    def errors(self) -> Array:
        """Predicted less true (N, T), in units of the labels' standard deviation (1 for constant labels)."""
        spread = self.true.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        difference: Array = np.asarray(self.predicted, dtype=np.float64) - self.true
        return difference / scale

    def by_row(self, count: int) -> RowScores:
        """Return the mean squared error of each row; there are no margins, and nothing is exactly right."""
        loss = (self.errors**2).mean(axis=1)
        return RowScores(loss, np.full(count, np.nan), np.zeros(count, dtype=bool))

    def reliability(self) -> Array:
        """Return empty bins: numbers come without probabilities."""
        return np.zeros((BINS, 3))

    def scores(self) -> list[dict[str, Any]]:
        """Return the root mean square, mean absolute and mean error of each target, and Pearson's r."""
        records = []
        for k, target in enumerate(self.targets):
            true = self.true[:, k]
            error = np.asarray(self.predicted[:, k], dtype=np.float64) - true
            records.append(
                {
                    "target": target,
                    "rmse": float(np.sqrt((error**2).mean())),
                    "mae": float(np.abs(error).mean()),
                    "mean_error": float(error.mean()),
                    "pearson": correlation(self.predicted[:, k], true),
                    "rows": len(true),
                }
            )
        return records

    def confusions(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield nothing: there are no classes."""
        return iter(())

    def differences(self, row: int, words: Any) -> tuple[list[str], list[str]]:
        """Return the targets that are furthest off, true and predicted."""
        worst = np.argsort(-np.abs(self.errors[row]), kind="stable")[:SHOWN_PARTS]
        true = [f"{self.targets[k]}: {self.true[row, k]:.4g}" for k in worst]
        predicted = [f"{self.targets[k]}: {self.predicted[row, k]:.4g}" for k in worst]
        return true, predicted


Decisions = ClassDecisions | FlagDecisions | NumberDecisions


def bins_of(confidence: Array, is_right: Array) -> Array:
    """Return (BINS, 3) of bins of equal width: their items, the sum of their confidence, how many are right."""
    # A confidence of 1 belongs to the last bin.
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    sums = [np.bincount(bins, weights, BINS) for weights in (None, confidence, is_right)]
    return np.stack(sums, axis=1)


def score_records(part: str, names: Sequence[str], counts: Array) -> list[dict[str, Any]]:
    """Return records with precision, recall, F1 and rows from counts (C, 3): predicted and true, predicted, true."""
    both, predicted, true = counts.T
    # 0 for a class that was never predicted, as scikit-learn.
    precision = ratio(both, predicted)
    recall = ratio(both, true)
    f1 = ratio(2 * both, predicted + true)
    records = []
    for k, name in enumerate(names):
        record: dict[str, Any] = {"part": part} if part else {}
        record |= {"class": name, "precision": float(precision[k]), "recall": float(recall[k])}
        records.append(record | {"f1": float(f1[k]), "rows": int(true[k])})
    return records


def correlation(first: Array, second: Array) -> float:
    """Return Pearson's r; 0 where one side is constant."""
    # NumPy would divide by 0, and warn.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def scores_by_row(decisions: Sequence[Decisions], rows: int) -> RowScores:
    """Return the scores of rows over all parts of their answers."""
    loss = np.zeros(rows)
    # A row is as sure as its least certain part, and right if all of its parts are.
    margin = np.full(rows, np.inf)
    is_right = np.ones(rows, dtype=bool)
    # Losses of independent parts add up; a row is as doubtful as its most doubtful part.
    for decided in decisions:
        own = decided.by_row(rows)
        loss += own.loss
        margin = np.minimum(margin, own.margin)
        is_right &= own.is_right
    return RowScores(loss, margin, is_right)


def written_differences(decisions: Sequence[Decisions], row: int, words: Any) -> tuple[str, str]:
    """Return what is true and what was predicted in a row as two texts; of many wrong parts the first."""
    true: list[str] = []
    predicted: list[str] = []
    for decided in decisions:
        of_part = decided.differences(row, words)
        true += of_part[0]
        predicted += of_part[1]
    return joined(true), joined(predicted)


def joined(parts: Sequence[str]) -> str:
    """Join the first parts, and say how many more there are."""
    text = "; ".join(parts[:SHOWN_PARTS])
    more = len(parts) - SHOWN_PARTS
    return f"{text}; and {more} more" if more > 0 else text
