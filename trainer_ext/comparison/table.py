"""The comparison as a table: a row for each run, on the screen, as Markdown and as csv."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_ext.comparison.flags import differing
from trainer_ext.comparison.paired import Comparison, Judged
from trainer_ext.comparison.runs import Run
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.reports.tables import is_of_one_class
from trainer_ext.tables import markdown_table, table

MOST_FLAGS = 6
"""Shown of a run; csv has all."""


@dataclass(frozen=True)
class Compared:
    """Runs, what they are called, how they compare, and the flags that are not the same in all of them."""

    names: list[str]
    runs: list[Run]
    judged: Judged
    flags: dict[str, list[Any]]


def compare_flags(names: list[str], runs: list[Run], judged: Judged) -> Compared:
    """Put together what the tables are made of."""
    flags = differing([run.flags for run in runs])
    return Compared(names, runs, judged, flags)


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return what runs are called: the last parts of their folders' paths, as few as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    longest = max(map(len, parts))
    names: list[str] = []
    for count in range(1, longest + 1):
        # Two runs may lie in folders of the same name.
        names = ["/".join(of_one[-count:]) for of_one in parts]
        if len(set(names)) == len(names):
            break
    return names


def metrics_shown(runs: Sequence[Run]) -> list[str]:
    """Return the metrics that every run has, the task's default one first, without those of single classes."""
    task = runs[0].task
    own = []
    for name in task.metric_names(task.label_columns):
        # A hundred classes would be a hundred columns.
        if not is_of_one_class(name) and not name.startswith("rmse_"):
            own.append(name)
    # Stable: the others keep the order that the task has them in.
    own.sort(key=lambda name: name != task.default_metric)
    names = [*own, f"test_{task.default_metric}"]
    return [name for name in names if all(name in run.mean for run in runs)]


def headers(compared: Compared) -> list[str]:
    """Return the headers of the table."""
    metrics = metrics_shown(compared.runs)
    correction = " (Holm)" if len(compared.runs) > 2 else ""
    names = ["run", *metrics, "difference", "95%", f"p{correction}"]
    if has_mcnemar(compared.judged):
        names.append(f"McNemar{correction}")
    return [*names, "MB", "s", "flags that differ"]


def rows(compared: Compared) -> list[list[str]]:
    """Return the cells of the table, a row for each run."""
    metrics = metrics_shown(compared.runs)
    found = []
    for k, run in enumerate(compared.runs):
        # The first run is what the others are compared with.
        comparison = compared.judged.comparisons[k - 1] if k else None
        cells = [compared.names[k], *(with_spread(run, name) for name in metrics)]
        cells += cells_of(comparison, has_mcnemar(compared.judged))
        cells += [size_of(run), f"{run.seconds:.0f}", flags_of(compared, k)]
        found.append(cells)
    return found


def with_spread(run: Run, metric: str) -> str:
    """Return a metric, with the standard deviation over the models if there are several."""
    value = f"{run.mean[metric]:.4f}"
    # One model has no spread.
    if run.members == 1:
        return value
    return f"{value} ± {run.std.get(metric, 0.0):.4f}"


def cells_of(comparison: Comparison | None, mcnemar: bool) -> list[str]:
    """Return difference, interval and p-values; nothing for the first run."""
    if comparison is None:
        return ["", "", "", *([""] if mcnemar else [])]
    difference = comparison.difference
    bounds = f"{difference.low:+.4f} to {difference.high:+.4f}"
    cells = [f"{difference.value:+.4f}", bounds, p_text(comparison.p_bootstrap)]
    if mcnemar:
        p_mcnemar = comparison.p_mcnemar
        cells.append("" if p_mcnemar is None else p_text(p_mcnemar))
    return cells


def p_text(p_value: float) -> str:
    """Return a p-value with as many digits as are worth reading."""
    return f"{p_value:.3f}" if p_value >= 0.0005 else f"{p_value:.0e}"


def size_of(run: Run) -> str:
    """Return the size of the weights in megabytes, and how many models have it."""
    size = f"{run.megabytes:.2f}"
    return size if run.members == 1 else f"{run.members} × {size}"


def flags_of(compared: Compared, k: int) -> str:
    """Return the flags of run `k` that differ from the first run's; of the first all that differ anywhere."""
    texts = []
    for name, values in compared.flags.items():
        # What is as in the first run stands there already.
        if not k or values[k] != values[0]:
            texts.append(f"{name}={values[k]}")
    if len(texts) > MOST_FLAGS:
        more = len(texts) - MOST_FLAGS
        texts = [*texts[:MOST_FLAGS], f"and {more} more"]
    return ", ".join(texts)


def has_mcnemar(judged: Judged) -> bool:
    """Return whether McNemar's test was possible for any run."""
    return any(comparison.p_mcnemar is not None for comparison in judged.comparisons)


def how_to_read(compared: Compared) -> str:
    """Return what the columns are."""
    judged, runs = compared.judged, compared.runs
    metric = runs[0].task.default_metric
    lines = [
        f"difference: {metric} on the {judged.rows} validation rows, less that of {compared.names[0]}; its interval "
        f"and two-sided p are from {judged.resamples} paired resamples of the rows."
    ]
    if any(run.members > 1 for run in runs):
        lines.append("±: standard deviation over folds or seeds; each row counts once a seed.")
    if has_mcnemar(judged):
        lines.append(
            f"McNemar: exact, on rows that only one of both has right: {discordant(compared)}."
        )
    if len(runs) > 2:
        lines.append(f"p-values are corrected for {len(runs) - 1} comparisons (Holm).")
    lines.append(
        "Each run chose its checkpoint on these rows, so all scores are slightly optimistic."
    )
    return "\n".join(lines)


def discordant(compared: Compared) -> str:
    """Return how many rows only a run, and only the first run, has right."""
    texts = []
    for name, comparison in zip(compared.names[1:], compared.judged.comparisons, strict=True):
        if comparison.p_mcnemar is not None:
            texts.append(f"{name} {comparison.only_this}, against {comparison.only_first}")
    return "; ".join(texts)


def as_text(compared: Compared) -> str:
    """Return the comparison for the screen."""
    return f"{table(rows(compared), headers(compared))}\n\n{how_to_read(compared)}"


def as_markdown(compared: Compared) -> str:
    """Return the comparison as Markdown."""
    lines = markdown_table(headers(compared), rows(compared))
    return "\n".join([*lines, "", how_to_read(compared), ""])


def write_csv(compared: Compared, path: Path) -> None:
    """Write every number as it is, and each flag that differs in a column of its own."""
    metrics = metrics_shown(compared.runs)
    judged = compared.judged
    # Short names are for people; a program finds the run by its folder.
    header = ["run", "folder", "models"]
    for name in metrics:
        header += [name, f"{name}_std"]
    header += ["low", "high", "difference", "difference_low", "difference_high", "p_bootstrap"]
    header += ["only_this", "only_first", "p_mcnemar", "megabytes", "seconds", *compared.flags]
    with open_csv(path) as writer:
        writer.writerow(header)
        for k, run in enumerate(compared.runs):
            cells: list[Any] = [compared.names[k], str(run.folder), run.members]
            for name in metrics:
                cells += [run.mean[name], run.std.get(name, "")]
            cells += [judged.metrics[k].low, judged.metrics[k].high]
            cells += numbers_of(judged.comparisons[k - 1] if k else None)
            cells += [run.megabytes, run.seconds]
            cells += [values[k] for values in compared.flags.values()]
            writer.writerow(cells)


def numbers_of(comparison: Comparison | None) -> list[Any]:
    """Return the numbers of one comparison for csv; empty cells for the first run."""
    if comparison is None:
        return [""] * 7
    difference = comparison.difference
    numbers: list[Any] = [difference.value, difference.low, difference.high, comparison.p_bootstrap]
    numbers += [comparison.only_this, comparison.only_first, comparison.p_mcnemar]
    return ["" if number is None else number for number in numbers]
