"""Rows whose label is probably wrong, most suspicious first, for a person to look through.

Classes (of texts, aspects, words) and flags are judged by cleanlab's confident learning on predictions for rows that
the model was not trained on. Numbers are judged by the size of their residual: cleanlab's own score for them also marks
rare but right values.

Source: Northcutt et al. 2021, Confident Learning (arXiv:1911.00068), section 3; Thyagarajan et al. 2022, Identifying
Incorrect Annotations in Multi-Label Classification Data (arXiv:2211.13895); for numbers Iglewicz and Hoaglin 1993, How
to Detect and Handle Outliers, the modified z-score.
"""

import importlib.util
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from trainer_ext.tasks.decisions import (
    ClassDecisions,
    Decisions,
    FlagDecisions,
    NumberDecisions,
)

logger = logging.getLogger(__name__)

EXTRA = "pip install 'trainer-ext[report]'"
MOST_CELLS = 50_000_000
"""Probabilities that are judged at a time (400 MB as float64); of more rows the first are judged."""
LISTED_SHARE = 0.1  # of the rows are listed even if fewer are flagged
MOST_LISTED = 10_000
FAR = 3.5
"""Modified z-score from which a residual is an outlier, as the source recommends."""


@dataclass(frozen=True)
class Suspects:
    """What is known of the labels of N rows.

    Attributes:
        score: (N,) from 0, certainly wrong, to 1.
        is_flagged: (N,) whether the method holds the label for wrong.
        part: (N,) the part (index into the decisions) with the lowest score.
        item: (N,) the item of this part, or the class or target.
        judged: rows that were looked at; those behind have a score of 1.
    """

    score: np.ndarray
    is_flagged: np.ndarray
    part: np.ndarray
    item: np.ndarray
    judged: int

    def listed(self) -> np.ndarray:
        """Return the rows to look through: flagged ones first, and at least a tenth of all, lowest scores first."""
        order = np.lexsort((self.score, ~self.is_flagged))
        share = int(np.ceil(LISTED_SHARE * len(self.score)))
        count = max(int(self.is_flagged.sum()), share)
        return order[: min(count, MOST_LISTED)]


def has_cleanlab() -> bool:
    """Return whether cleanlab is installed."""
    return importlib.util.find_spec("cleanlab") is not None


def find_suspects(decisions: Sequence[Decisions], rows: int) -> Suspects:
    """Judge the labels of `rows` rows; a row is as suspicious as its most suspicious part."""
    score = np.ones(rows)
    is_flagged = np.zeros(rows, dtype=bool)
    part = np.zeros(rows, dtype=int)
    item = np.zeros(rows, dtype=int)
    judged = rows
    for k, decided in enumerate(decisions):
        of_part = judge(decided)
        judged = min(judged, of_part.rows)
        is_lower = of_part.score < score
        score = np.where(is_lower, of_part.score, score)
        part = np.where(is_lower, k, part)
        item = np.where(is_lower, of_part.item, item)
        is_flagged |= of_part.is_flagged
    return Suspects(score, is_flagged, part, item, judged)


@dataclass(frozen=True)
class Judged:
    """The same of one part: its lowest score in each row (N,), that item, and whether any is flagged."""

    score: np.ndarray
    is_flagged: np.ndarray
    item: np.ndarray
    rows: int


@singledispatch
def judge(decided: Decisions) -> Judged:
    """Judge the labels of one part of the rows' answers."""
    raise TypeError(f"no way to judge {type(decided).__name__}")


@judge.register
def _(decided: ClassDecisions) -> Judged:
    rows = int(decided.rows[-1]) + 1 if len(decided.rows) else 0
    limit = max(1, MOST_CELLS // max(1, len(decided.classes)))
    # Whole rows only: a sentence is judged with all of its words.
    judged_rows = rows if len(decided.rows) <= limit else int(decided.rows[limit])
    items = np.flatnonzero((decided.true >= 0) & (decided.rows < judged_rows))
    score = np.ones(len(decided.true))
    is_flagged = np.zeros(len(decided.true), dtype=bool)
    if len(items):
        score[items], is_flagged[items] = of_classes(
            decided.true[items], decided.probabilities(items)
        )
    return lowest_of_rows(decided.rows, score, is_flagged, rows, judged_rows)


def lowest_of_rows(
    rows: np.ndarray, score: np.ndarray, is_flagged: np.ndarray, count: int, judged: int
) -> Judged:
    """Return the lowest score of the items (M,) of each row, and whether any of them is flagged."""
    # The last item that is written to a row stays: that with the lowest score.
    order = np.argsort(-score, kind="stable")
    item = np.zeros(count, dtype=int)
    item[rows[order]] = order
    lowest = np.ones(count)
    np.minimum.at(lowest, rows, score)
    flagged = np.bincount(rows, weights=is_flagged, minlength=count) > 0
    return Judged(lowest, flagged, item, judged)


def of_classes(true: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the score of each label (M,), and whether it is probably wrong, by confident learning.

    Args:
        true: (M,) class indices, none below zero.
        probabilities: (M, C).
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # A class without a row has no threshold of its own, and may still be what a label should have been.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = get_label_quality_scores(true, probabilities, method="normalized_margin")
        if len(np.unique(true)) < 2:
            return score, np.zeros(len(true), dtype=bool)
        is_flagged = find_label_issues(true, probabilities, n_jobs=1)
    return np.asarray(score), np.asarray(is_flagged)


@judge.register
def _(decided: FlagDecisions) -> Judged:
    from cleanlab.multilabel_classification.filter import find_label_issues
    from cleanlab.multilabel_classification.rank import (
        get_label_quality_scores,
        get_label_quality_scores_per_class,
    )

    rows, classes = decided.true.shape
    judged = min(rows, max(1, MOST_CELLS // classes))
    labels = [np.flatnonzero(flags).tolist() for flags in decided.true[:judged]]
    probabilities = decided.probabilities(slice(judged))
    score = np.ones(rows)
    is_flagged = np.zeros(rows, dtype=bool)
    item = np.zeros(rows, dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score[:judged] = get_label_quality_scores(labels, probabilities)
        by_class = get_label_quality_scores_per_class(labels, probabilities)
        item[:judged] = by_class.argmin(axis=1)
        is_flagged[:judged] = find_label_issues(labels, probabilities, n_jobs=1)
    return Judged(score, is_flagged, item, judged)


@judge.register
def _(decided: NumberDecisions) -> Judged:
    errors = np.asarray(decided.predicted, dtype=np.float64) - decided.true
    centred = errors - np.median(errors, axis=0)
    # 0.6745: so that the median deviation of a normal distribution counts as one standard deviation.
    spread = np.median(np.abs(centred), axis=0) / 0.6745
    distance = np.abs(centred) / np.where(spread > 0, spread, 1.0)
    furthest = distance.max(axis=1)
    # Any falling function would do; with this one a score below 0.5 is flagged.
    score = 1 / (1 + furthest / FAR)
    return Judged(score, furthest > FAR, distance.argmax(axis=1), len(errors))


def suggestion(decided: Decisions, row: int, item: int, words: Any) -> tuple[str, str, str]:
    """Return of the most suspicious part of a row: what is judged (an aspect, a word), its label, and a better one.

    Args:
        decided: the part.
        row: number of the row.
        item: of `Suspects`.
        words: the row's input.
    """
    if isinstance(decided, NumberDecisions):
        true, predicted = decided.true[row, item], decided.predicted[row, item]
        return decided.targets[item], f"{true:.6g}", f"{predicted:.6g}"
    if isinstance(decided, FlagDecisions):
        given = decided.true[row]
        better = np.where(decided.probabilities(row) > 0.5, 1, 0)
        # If the model agrees with every flag, the one it is least sure of.
        if (better == given).all():
            better[item] = 1 - better[item]
        return (
            decided.classes[item],
            ", ".join(decided.names(given)),
            ", ".join(decided.names(better)),
        )
    probabilities = decided.probabilities([item])[0]
    true = int(decided.true[item])
    if true >= 0:
        probabilities[true] = -1.0
    better_name = decided.name(int(probabilities.argmax()))
    return decided.item_name(item, words), decided.name(true), better_name
