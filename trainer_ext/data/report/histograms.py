"""PNG pictures of a data report. What is drawn is bounded, and the title says so if it is not all."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes

from trainer_ext.data.report.cross_table import Counts, cross_table
from trainer_ext.figures import drawable, families, font_for, numbers, picture, plt, save

# Classes or columns in one picture: a thousand of them take minutes to draw, and 8 GB.
SHOWN = 40
FILES = 10
TARGETS = 30
BINS = 60
TARGET_BINS = 40
# Beyond this percentile a few long texts would press all others into one bar.
LONGEST_DRAWN = 99

Value = TypeVar("Value")


def first_items(items: Mapping[str, Value], count: int) -> dict[str, Value]:
    """Return the first items of a mapping."""
    return dict(islice(items.items(), count))


def legend_beside(axis: Axes, fallback: str | None) -> None:
    """Put the legend to the right of a picture: inside, it would hide bars."""
    fonts = {"family": families(fallback)}
    axis.legend(
        prop=fonts,
        bbox_to_anchor=(1.01, 1),
        loc="upper left",
    )


def legend_label(name: str, fallback: str | None, otherwise: str) -> str:
    """Return a name for a legend."""
    # matplotlib leaves labels that begin with `_` out of legends; with a blank before it none does.
    return " " + drawable(name, fallback, otherwise)


def figure_height(lines: float) -> float:
    """Return the height in inches of a picture with so many lines of text."""
    return 1.2 + 0.3 * lines


def name_rows(
    axis: Axes,
    places: np.ndarray,
    names: Iterable[str],
    otherwise: str,
    fallback: str | None,
) -> None:
    """Name the rows of bars, the first on top; one whose name cannot be drawn is called by its number."""
    labels = []
    for number, name in enumerate(names, 1):
        labels.append(drawable(name, fallback, f"{otherwise}{number}"))
    axis.set_yticks(places, labels, family=families(fallback))
    axis.invert_yaxis()


@picture
def length_histogram(
    lengths: Mapping[str, Sequence[int]],
    unit: str,
    limits: Iterable[int],
    path: Path,
) -> None:
    """Draw the share of the texts by length, a line a file, and the max_lengths as dashed lines."""
    figure, axis = plt.subplots(figsize=(8, 4))
    drawn = first_items(lengths, FILES)
    fallback = font_for("".join(drawn))
    edges = bin_edges(drawn.values())
    for number, (name, values) in enumerate(drawn.items(), 1):
        if len(values):
            label = legend_label(name, fallback, f"file {number}")
            axis.hist(
                np.minimum(np.asarray(values), edges[-1]),
                bins=edges,
                # Shares, so that a small validation file shows beside the training file.
                weights=np.full(len(values), 1 / len(values)),
                histtype="step",
                label=f"{label} ({len(values)})",
            )
    for limit in limits:
        if limit <= edges[-1]:
            draw_limit(axis, limit)
    axis.set(xlabel=f"{unit} (the last bar holds everything longer)", ylabel="share of the texts")
    if len(drawn) < len(lengths):
        heading = f"the first {FILES} of {len(lengths)} files"
        # Above the numbers of the dashed lines.
        axis.set_title(heading, pad=20)
    axis.legend(prop={"family": families(fallback)})
    save(figure, path)


def bin_edges(lengths: Iterable[Sequence[int]]) -> list[float]:
    """Return edges of bins for the lengths of several files, but for the longest 1% of each."""
    longest = 10
    for values in lengths:
        if len(values):
            of_file = np.percentile(np.asarray(values), LONGEST_DRAWN)
            longest = max(longest, int(of_file))
    # Lengths are whole numbers: narrower bins would be empty.
    bins = min(BINS, longest)
    return np.linspace(0, longest, bins + 1).tolist()


def draw_limit(axis: Axes, limit: int) -> None:
    """Draw a dashed line for a max_length, with the number above it."""
    axis.axvline(
        limit,
        color="gray",
        linestyle="--",
        linewidth=0.8,
    )
    axis.text(
        limit,
        1.01,
        str(limit),
        transform=axis.get_xaxis_transform(),
        ha="center",
        fontsize=7,
        rotation=90,
    )


@picture
def class_bars(counts: Counts, title: str, path: Path) -> None:
    """Draw the rows of each class, a bar a file, the first file's largest class on top.

    If no installed font has the characters of a name, the class is called by its place (`#3`), as data_report.json
    counts them.
    """
    all_classes, all_files, by_class = cross_table(counts)
    classes = all_classes[:SHOWN]
    files = all_files[:FILES]
    fallback = font_for("".join([*classes, *files, title]))
    # Bars of several files are thinner than that of one.
    lines = len(classes) * max(1, len(files) / 2)
    figure, axis = plt.subplots(figsize=(8, figure_height(lines)))
    height = 0.8 / len(files)
    places = np.arange(len(classes))
    for number, file in enumerate(files, 1):
        bars = axis.barh(
            places + (number - 1) * height,
            by_class[:SHOWN, number - 1],
            height=height,
            label=legend_label(file, fallback, f"file {number}"),
        )
        # The default format would write a million as 1e+06.
        axis.bar_label(
            bars,
            fmt="{:.0f}",
            padding=2,
            fontsize=7,
        )
    middle = height * (len(files) - 1) / 2
    name_rows(axis, places + middle, classes, "#", fallback)
    heading = drawable(title, fallback, "classes")
    if len(classes) < len(all_classes):
        heading += f" (the first {SHOWN} of {len(all_classes)})"
    axis.set_title(heading, family=families(fallback))
    axis.set_xlabel("rows")
    axis.margins(x=0.1)
    if len(files) > 1:
        legend_beside(axis, fallback)
    save(figure, path)


@picture
def aspect_bars(classes: Counts, title: str, path: Path) -> None:
    """Draw a bar for each label column, cut into the shares of its classes."""
    names, columns, counts = cross_table(first_items(classes, SHOWN))
    # A column without rows has no shares, and must not divide by zero.
    shares = counts / counts.sum(axis=0).clip(min=1)
    totals = counts.sum(axis=1)
    by_size = np.argsort(-totals, kind="stable").tolist()
    largest = by_size[:SHOWN]
    fallback = font_for("".join([*names, *columns, title]))
    figure, axis = plt.subplots(figsize=(9, figure_height(len(columns))))
    places = np.arange(len(columns))
    left = np.zeros(len(columns))
    for number, place in enumerate(sorted(largest, key=names.__getitem__), 1):
        label = legend_label(names[place], fallback, f"#{number}")
        axis.barh(
            places,
            shares[place],
            left=left,
            label=label,
        )
        left += shares[place]
    name_rows(axis, places, columns, "column ", fallback)
    axis.set(xlim=(0, 1), xlabel="share of the rows")
    heading = drawable(title, fallback, "classes")
    if len(columns) < len(classes):
        heading += f" (the first {SHOWN} of {len(classes)} columns)"
    if len(largest) < len(names):
        heading += f" (the largest {SHOWN} of {len(names)} classes)"
    axis.set_title(heading, family=families(fallback))
    legend_beside(axis, fallback)
    save(figure, path)


@picture
def target_histogram(targets: Mapping[str, Sequence[float]], title: str, path: Path) -> None:
    """Draw how the scores of each target are spread, one panel a target."""
    drawn = first_items(targets, TARGETS)
    columns = min(3, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    size = (4 * columns, 3 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    fallback = font_for("".join([*drawn, title]))
    for number, (name, values) in enumerate(drawn.items(), 1):
        axis = axes.flat[number - 1]
        axis.hist(*histogram_of(values))
        label = drawable(name, fallback, f"target {number}")
        axis.set_title(label, family=families(fallback))
    for axis in axes.flat[len(drawn) :]:
        axis.axis("off")
    heading = drawable(title, fallback, "targets")
    if len(drawn) < len(targets):
        heading += f" (the first {TARGETS} of {len(targets)})"
    figure.tight_layout()
    figure.suptitle(
        heading,
        family=families(fallback),
        y=1,
        va="bottom",
    )
    save(figure, path)


def histogram_of(values: Iterable[float]) -> tuple[np.ndarray, int]:
    """Return the scores that can be drawn, and a number of bins.

    Scores on a scale of few steps get a bin for each step and for each gap between two, so that steps stay apart.
    """
    scores = numbers(values)
    scores = scores[~np.isnan(scores)]
    steps = len(np.unique(scores))
    bins = max(10, steps * 2 - 1)
    return scores, min(TARGET_BINS, bins)
