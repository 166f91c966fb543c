"""Figures of the rows that a model was validated on, as records of csv files: what plots and report.html show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trainer_ext.reports.suspects import Suspects, suggestion
from trainer_ext.reports.tables import is_of_one_class
from trainer_ext.tasks.decisions import Decisions, RowScores, written_differences

LENGTH_BINS = 10
MOST_PARTS = 8  # lines in one reliability diagram
MOST_HARD = 1000
"""Rows in hardest.csv."""

ALL = "all answers"

Record = dict[str, Any]


@dataclass(frozen=True)
class ReportRows:
    """The rows that a model was validated on.

    Attributes:
        items: their inputs: texts, or lists of words.
        places: where each was read (`dev.csv, row 3`).
        keys: what each is called in suspects.csv.
        ids: of each; empty if it has none.
        split: from which file they are: train or validation.
        reads_words: whether inputs are lists of words.
    """

    items: Sequence[Any]
    places: Sequence[str]
    keys: Sequence[str]
    ids: Sequence[str]
    split: str
    reads_words: bool

    def text(self, row: int) -> str:
        """Return a row's input as one text."""
        item = self.items[row]
        return " ".join(item) if self.reads_words else str(item)

    def lengths(self) -> np.ndarray:
        """Return the words, or characters, of each row (N,)."""
        return np.fromiter(map(len, self.items), dtype=np.int64, count=len(self.items))

    @property
    def unit(self) -> str:
        """What `lengths` counts."""
        return "words" if self.reads_words else "characters"


class ReliabilityBin(NamedTuple):
    """Decisions of about the same probability: how many, their mean probability, and which share is right."""

    items: int
    confidence: float
    right: float


class LengthBin(NamedTuple):
    """Rows of about the same length, and their error."""

    shortest: int
    longest: int
    rows: int
    error: float


def reliability(decisions: Sequence[Decisions]) -> dict[str, list[ReliabilityBin]]:
    """Return the bins of each part of an answer that comes with probabilities; of many parts those of all together."""
    # Eighteen lines on each other could not be told apart.
    if len(decisions) > MOST_PARTS:
        total = sum(decided.reliability() for decided in decisions)
        return {ALL: bins_from(total)}
    found = {}
    for decided in decisions:
        bins = bins_from(decided.reliability())
        if bins:
            found[decided.part or ALL] = bins
    return found


def bins_from(sums: Any) -> list[ReliabilityBin]:
    """Return those bins that hold something, from sums (BINS, 3)."""
    bins = []
    for items, confidence, right in sums.tolist():
        if items:
            bins.append(ReliabilityBin(int(items), confidence / items, right / items))
    return bins


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the mean distance of probability and share, weighted by the decisions in each bin."""
    total = sum(found.items for found in bins)
    gaps = [found.items * abs(found.confidence - found.right) for found in bins]
    return sum(gaps) / total


def length_bins(lengths: np.ndarray, errors: np.ndarray) -> list[LengthBin]:
    """Return bins of about equally many rows by their length, each with the mean of its errors.

    Args:
        lengths: (N,).
        errors: (N,).
    """
    shares = np.linspace(0, 1, LENGTH_BINS + 1)[1:]
    # Rows of one length stay together, so that there may be fewer bins.
    ends = np.unique(np.quantile(lengths, shares, method="higher"))
    places = np.searchsorted(ends, lengths)
    bins = []
    for place in range(len(ends)):
        own = places == place
        # A mean of nothing is NaN.
        if own.any():
            of_bin = lengths[own]
            error = float(errors[own].mean())
            bins.append(LengthBin(int(of_bin.min()), int(of_bin.max()), int(own.sum()), error))
    return bins


def hardest(
    decisions: Sequence[Decisions], scores: RowScores, rows: ReportRows
) -> Iterator[Record]:
    """Yield the rows with the largest loss, largest first, with what is true and what was predicted."""
    # Stable: the same file on every machine.
    order = np.argsort(-scores.loss, kind="stable")[:MOST_HARD]
    for row in order.tolist():
        item = rows.items[row]
        true, predicted = written_differences(decisions, row, item)
        margin = float(scores.margin[row])
        record: Record = {"text": rows.text(row), "label": true, "predicted": predicted}
        record["loss"] = round(float(scores.loss[row]), 4)
        record["margin"] = round(margin, 4) if np.isfinite(margin) else ""
        record |= {"place": rows.places[row], "row_id": rows.ids[row]}
        yield record


def suspect_records(
    decisions: Sequence[Decisions], suspects: Suspects, rows: ReportRows
) -> Iterator[Record]:
    """Yield the rows of suspects.csv: `verdict` is empty, for a person to fill in."""
    for row in suspects.listed().tolist():
        decided = decisions[suspects.part[row]]
        item = int(suspects.item[row])
        part, given, better = suggestion(decided, row, item, rows.items[row])
        # First what a person fills in and looks at, last what only the program reads again.
        yield {
            "verdict": "",
            "text": rows.text(row),
            "part": part,
            "label": given,
            "suggestion": better,
            "score": round(float(suspects.score[row]), 4),
            "flagged": "yes" if suspects.is_flagged[row] else "no",
            "place": rows.places[row],
            "row_id": rows.ids[row],
            "split": rows.split,
            "key": rows.keys[row],
        }


def curve_records(history: Sequence[Mapping[str, Any]]) -> Iterator[Record]:
    """Yield step, name and value of everything that was logged while training."""
    for entry in history:
        for name, value in entry.items():
            if name not in ("step", "epoch"):
                yield {"step": entry.get("step", ""), "name": name, "value": value}


def confusion_records(decisions: Sequence[Decisions]) -> Iterator[Record]:
    """Yield how often each class was predicted for each other; counts of 0 are left out."""
    for decided in decisions:
        for part, true, predicted, count in decided.confusions():
            yield {"part": part, "true": true, "predicted": predicted, "count": count}


def reliability_records(parts: Mapping[str, Sequence[ReliabilityBin]]) -> Iterator[Record]:
    """Yield the bins of each part."""
    for name, bins in parts.items():
        for found in bins:
            yield {"part": name, **found._asdict()}


def baseline_records(metrics: Mapping[str, Mapping[str, float]]) -> list[Record]:
    """Return a record for each metric of the model, with those of the baselines beside it.

    Args:
        metrics: by what is scored (the model first, then baselines), by name.
    """
    model = next(iter(metrics))
    records = []
    # Scores of single classes hide the others.
    for name in sorted(metrics[model], key=is_of_one_class):
        record: Record = {"metric": name}
        for scored, values in metrics.items():
            record[scored] = values.get(name, "")
        records.append(record)
    return records
