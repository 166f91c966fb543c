"""The data report as tables for the screen. Names and labels come from data, so none may steer the terminal."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from trainer_ext.characters import on_screen
from trainer_ext.data.report.cross_table import cross_table, ordered_union
from trainer_ext.data.report.job import FileReport, Report, are_aspects
from trainer_ext.data.report.lengths import MAX_LENGTHS, PERCENTILES
from trainer_ext.data.report.profile import ClassSummary
from trainer_ext.tables import table

CLASSES_ON_SCREEN = 30
# Of a file without the label column, beside one that has it.
NO_CLASSES: ClassSummary = {"counts": {}, "imbalance_ratio": None}
RATIO = "largest / smallest"
ESTIMATED = " (an estimate: give --model_name_or_path to count tokens)"

# From the report's keys to the headers of the tables.
SHARED = {
    "first": "first",
    "second": "second",
    "texts": "texts in both",
    "rows_of_second": "rows of the second",
    "conflicting_texts": "with other labels",
}
REPEATS = {
    "repeated_rows": "repeated rows",
    "conflicting_texts": "texts with contradicting labels",
    "conflicting_rows": "their rows",
}
STATISTICS = ("count", "mean", "std", "min", "p25", "p50", "p75", "max")


def as_text(report: Report) -> str:
    """Return the report as tables and lines."""
    files = report["files"]
    parts = [overview(files)]
    for file in files:
        parts += notes(file)
    if report["shared"]:
        parts.append(shared_table(report["shared"]))
    # A file may lack a label column that another one has.
    columns = ordered_union(file["classes"] for file in files)
    if are_aspects(columns, report["task"]):
        parts.append(aspect_table(files))
    else:
        for column in columns:
            parts += class_table(files, column)
    if any(file["targets"] for file in files):
        parts.append(target_table(files))
    parts.append(length_table(files))
    parts.append(coverage_table(files))
    parts.append(recommendation(files))
    return "\n\n".join(parts)


def overview(files: Sequence[FileReport]) -> str:
    """Return the table of rows, gaps and repeats."""
    repeats_of = itemgetter(*REPEATS)
    rows = []
    for file in files:
        missing = 0
        for gap in file["missing"].values():
            missing += gap["count"]
        repeats = repeats_of(file["duplicates"])
        rows.append([file["name"], file["rows"], missing, *repeats])
    return table(rows, ["file", "rows", "missing", *REPEATS.values()])


def notes(file: FileReport) -> Iterator[str]:
    """Yield a line for each column with gaps or with labels that are not classes."""
    name = file["name"]
    for column, gap in file["missing"].items():
        shown = on_screen(column)
        places = ", ".join(gap["first"])
        yield f"{name}: no {shown} in {gap['count']} rows: {places}"
    for column, counts in file["unknown_labels"].items():
        # With quotes, because what is wrong with a label may be a blank.
        listed = [f"{value!r} ({count})" for value, count in counts.items()]
        unknown = ", ".join(listed)
        yield f"{name}: {on_screen(column)} has labels that are none of label_names: {unknown}"


def shared_table(shared: Sequence[dict[str, Any]]) -> str:
    """Return the table of texts that two files share."""
    rows = list(map(itemgetter(*SHARED), shared))
    return table(rows, list(SHARED.values()))


def aspect_table(files: Sequence[FileReport]) -> str:
    """Return one table for all label columns, which share their classes."""
    names: list[str] = []
    for file in files:
        for summary in file["classes"].values():
            # By name, because aspects have different classes in front.
            names += sorted(summary["counts"])
    classes = list(dict.fromkeys(names))
    rows = []
    for file in files:
        for column, summary in file["classes"].items():
            counts = []
            for name in classes:
                counts.append(summary["counts"].get(name, 0))
            # As text: a table writes numbers with four decimals.
            ratio = str(summary["imbalance_ratio"])
            rows.append([file["name"], column, *counts, ratio])
    return table(rows, ["file", "column", *classes, RATIO])


def class_table(files: Sequence[FileReport], column: str) -> Iterator[str]:
    """Yield the table of one label column's classes, and a line below it."""
    counts = {}
    ratios = []
    for file in files:
        summary = file["classes"].get(column, NO_CLASSES)
        counts[file["name"]] = summary["counts"]
        ratio = summary["imbalance_ratio"]
        if ratio:
            ratios.append(f"{ratio:g}")
    classes, names, by_class = cross_table(counts)
    rows = []
    for name, by_file in zip(classes, by_class.tolist(), strict=True):
        rows.append([name, *by_file])
    shown = table(rows[:CLASSES_ON_SCREEN], [column, *names])
    hidden = len(rows) - CLASSES_ON_SCREEN
    if hidden > 0:
        shown += f"\n... and {hidden} more"
    yield shown
    listed = ", ".join(ratios)
    yield f"{len(rows)} classes of {on_screen(column)}; {RATIO}: {listed}"


def target_table(files: Sequence[FileReport]) -> str:
    """Return the table of means and spreads of regression targets."""
    statistics_of = itemgetter(*STATISTICS)
    rows = []
    for file in files:
        for target, summary in file["targets"].items():
            rows.append([file["name"], target, *statistics_of(summary)])
    return table(rows, ["file", "target", *STATISTICS])


def length_table(files: Sequence[FileReport]) -> str:
    """Return the table of lengths by unit."""
    names = [*PERCENTILES, "mean"]
    rows = []
    for file in files:
        lengths = file["length"]
        for unit in (lengths["unit"], "characters", "words"):
            by_name = lengths[unit]
            # Empty if a file has no texts. As texts, because the mean alone has a decimal.
            values = [str(by_name.get(name, "")) for name in names]
            rows.append([file["name"], unit, *values])
    return table(rows, ["length of the texts", "in", *names])


def coverage_table(files: Sequence[FileReport]) -> str:
    """Return the table of the share of the texts that each max_length leaves whole."""
    limits = list(map(str, MAX_LENGTHS))
    rows = []
    for file in files:
        row = [file["name"]]
        for limit in limits:
            share = coverage_of(file, limit)
            row.append(f"{share:.1%}")
        rows.append(row)
    unit = files[0]["length"]["unit"]
    return table(rows, [f"share of texts not truncated at max_length, {unit}", *limits])


def coverage_of(file: FileReport, limit: str) -> float:
    """Return the share of a file's texts that a max_length leaves whole; 0 if it has no texts."""
    return file["length"]["coverage"].get(limit, 0)


def recommendation(files: Sequence[FileReport]) -> str:
    """Return the line on which max_length to take: the largest that a file needs."""
    best = max(file["length"]["recommended_max_length"] for file in files)
    whole = min(coverage_of(file, str(best)) for file in files)
    line = f"Recommended: --max_length {best}, which leaves {whole:.1%} of the texts untruncated"
    if files[0]["length"]["unit"] == "tokens":
        return line
    return line + ESTIMATED
