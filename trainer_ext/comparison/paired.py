"""Whether two runs differ on the same rows by more than chance: paired bootstrap, McNemar's test, Holm's correction.

Every run is compared with the first one, which is the baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from trainer_ext.comparison.runs import Answers, Run
from trainer_ext.errors import UserError
from trainer_ext.evaluation.resampling import sums_of_resamples
from trainer_ext.inference.combine import asked_of
from trainer_ext.tasks import Task
from trainer_ext.tasks.activations import Array

LEVEL = 0.95
"""Of intervals."""


@dataclass(frozen=True)
class Interval:
    """A value measured on the rows, and the percentile bounds of its resamples.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One run against the first.

    Attributes:
        difference: of the task's default metric, this run's less the first's.
        p_bootstrap: two-sided; that of Holm's correction if several runs are compared.
        only_this: rows that this run alone has all right; None without McNemar's test.
        only_first: rows that the first alone has all right.
        p_mcnemar: exact and two-sided, corrected in the same way.
    """

    difference: Interval
    p_bootstrap: float
    only_this: int | None = None
    only_first: int | None = None
    p_mcnemar: float | None = None


@dataclass(frozen=True)
class Judged:
    """The default metric of each run with its interval, and every run but the first against the first."""

    metrics: list[Interval]
    comparisons: list[Comparison]
    rows: int
    resamples: int


def judge(runs: Sequence[Run]) -> Judged:
    """Compare runs on their common validation rows.

    Raises:
        UserError: if their tasks, labels or rows differ.
    """
    first = runs[0]
    for run in runs:
        check_same_question(first, run)
        check_same_rows(first, run)
    # The same draws for all, so that what makes rows hard for both runs cancels out.
    drawn = [resampled_metric(run.task, run.answers) for run in runs]
    comparisons = []
    for run, values in zip(runs[1:], drawn[1:], strict=True):
        comparisons.append(compared(first, run, values - drawn[0]))
    return Judged(
        metrics=list(map(interval, drawn)),
        comparisons=corrected(comparisons),
        rows=len(first.answers[0].hashes),
        resamples=len(drawn[0]) - 1,
    )


def check_same_question(first: Run, run: Run) -> None:
    """Raise `UserError` unless two runs have the same task and the same labels, in the same order."""
    own, others = asked_of(first.task), asked_of(run.task)
    for what, value in own.items():
        if value != others[what]:
            raise UserError(
                f"{first.folder} and {run.folder} cannot be compared: their {what} differ: {value} and {others[what]}"
            )


def check_same_rows(first: Run, run: Run) -> None:
    """Raise `UserError` unless a run answered the very rows that the first one did, in whatever order."""
    # Sorted in both, so that equal arrays are equal sets with repetitions.
    known = first.answers[0].hashes
    for answers in run.answers:
        if np.array_equal(known, answers.hashes):
            continue
        common = len(np.intersect1d(known, answers.hashes))
        raise UserError(
            f"{first.folder} and {run.folder} were validated on different rows ({len(known)} and "
            f"{len(answers.hashes)}, {common} of them with the same text and labels), so that they cannot be compared"
        )


def resampled_metric(task: Task, passes: Sequence[Answers]) -> Array:
    """Return the default metric (1 + R,) of the rows and of R resamples: the mean over seeds (or repetitions)."""
    sums = sums_of_resamples(*(answers.tally for answers in passes))
    values = [task.metrics_of_sums(of_pass)[task.default_metric] for of_pass in sums]
    return np.mean(values, axis=0)


def interval(drawn: Array) -> Interval:
    """Return the first of (1 + R,) values, with the bounds of the others."""
    outside = (1 - LEVEL) / 2
    low, high = np.quantile(drawn[1:], [outside, 1 - outside]).tolist()
    return Interval(float(drawn[0]), low, high)


def compared(first: Run, run: Run, differences: Array) -> Comparison:
    """Compare a run with the first, given the differences (1 + R,) of their metric."""
    comparison = Comparison(interval(differences), two_sided(differences[1:]))
    own, others = run.answers, first.answers
    # The test is on one decision a row: several seeds have several.
    if len(own) > 1 or len(others) > 1 or own[0].right is None or others[0].right is None:
        return comparison
    only_this = int((own[0].right & ~others[0].right).sum())
    only_first = int((others[0].right & ~own[0].right).sum())
    return replace(
        comparison,
        only_this=only_this,
        only_first=only_first,
        p_mcnemar=mcnemar(only_this, only_first),
    )


def two_sided(differences: Array) -> float:
    """Return the two-sided p-value of no difference, from those of resamples (R,).

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 4.2, eq. 4.11, doubled.
    """
    # The measured rows count as one draw, so that it is never 0.
    at_most = 1 + int((differences <= 0).sum())
    at_least = 1 + int((differences >= 0).sum())
    return min(1.0, 2 * min(at_most, at_least) / (1 + len(differences)))


def mcnemar(only_this: int, only_that: int) -> float:
    """Return the exact two-sided p-value of McNemar's test, from the rows that only one of two models has right.

    Source: McNemar, Note on the Sampling Error of the Difference (Psychometrika 12, 1947); exact: binomial with 1/2.
    """
    discordant = only_this + only_that
    # Models that are right on the same rows do not differ.
    if not discordant:
        return 1.0
    return float(binomtest(only_this, discordant).pvalue)


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct each kind of p-value for the number of comparisons; one comparison stays as it is."""
    bootstrap = holm([comparison.p_bootstrap for comparison in comparisons])
    tested = [each.p_mcnemar for each in comparisons if each.p_mcnemar is not None]
    mcnemars = iter(holm(tested))
    found = []
    for comparison, p_value in zip(comparisons, bootstrap, strict=True):
        p_mcnemar = None if comparison.p_mcnemar is None else next(mcnemars)
        found.append(replace(comparison, p_bootstrap=p_value, p_mcnemar=p_mcnemar))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the number of tests, in the same order.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure (Scand. J. Statist. 6, 1979).
    """
    count = len(p_values)
    corrected_values = [1.0] * count
    highest = 0.0
    for rank, k in enumerate(np.argsort(p_values, kind="stable")):
        # None is smaller than one before it: what a smaller p-value does not show, a larger one cannot.
        highest = max(highest, min(1.0, (count - rank) * p_values[k]))
        corrected_values[k] = highest
    return corrected_values
