"""PNG pictures of a data report."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from trainer_ext.figures import drawable, families, font_for, numbers, picture, plt, save

SHOWN = 40  # classes or columns in one picture
FILES, TARGETS = 10, 30


@picture
def length_histogram(
    lengths: Mapping[str, Sequence[int]], unit: str, limits: Iterable[int], path: Path
) -> None:
    """Share of the texts by length, a line a file, up to the longest 1%; the max_lengths as dashed lines."""
    figure, axis = plt.subplots(figsize=(8, 4))
    count, lengths = len(lengths), dict(islice(lengths.items(), FILES))
    fallback = font_for("".join(lengths))
    top = max(
        (int(np.percentile(np.asarray(values), 99)) for values in lengths.values() if len(values)),
        default=1,
    )
    edges = np.linspace(0, max(top, 10), min(60, max(top, 10)) + 1)
    for k, (name, values) in enumerate(lengths.items(), 1):
        if len(values):
            clipped = np.minimum(np.asarray(values), edges[-1])
            weights = np.full(len(values), 1 / len(values))
            label = drawable(name, fallback, f"file {k}")
            axis.hist(
                clipped,
                bins=edges,
                weights=weights,
                histtype="step",
                label=f" {label} ({len(values)})",
            )
    for limit in limits:
        if limit <= edges[-1]:
            axis.axvline(limit, color="gray", linestyle="--", linewidth=0.8)
            axis.text(
                limit,
                1.01,
                str(limit),
                transform=axis.get_xaxis_transform(),
                ha="center",
                fontsize=7,
                rotation=90,
            )
    axis.set(xlabel=f"{unit} (the last bar holds everything longer)", ylabel="share of the texts")
    if len(lengths) < count:
        axis.set_title(f"the first {FILES} of {count} files", pad=20)
    axis.legend(prop={"family": families(fallback)})
    save(figure, path)


@picture
def class_bars(counts: Mapping[str, Mapping[str, int]], title: str, path: Path) -> None:
    """Rows of each class, a bar a file, the first file's largest class on top.

    Where no installed font has the characters of a name, the class is called by its place (`#3`), as data_report.json
    counts them.
    """
    names = list(dict.fromkeys(name for by_class in counts.values() for name in by_class))
    counts = dict(islice(counts.items(), FILES))
    shown, fallback = names[:SHOWN], font_for("".join([*names[:SHOWN], *counts, title]))
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.3 * len(shown) * max(1, len(counts) / 2)))
    height = 0.8 / max(1, len(counts))
    for k, (file, by_class) in enumerate(counts.items()):
        places = [row + k * height for row in range(len(shown))]
        values = [by_class.get(name, 0) for name in shown]
        axis.barh(
            places, values, height=height, label=" " + drawable(file, fallback, f"file {k + 1}")
        )
        for place, value in zip(places, values, strict=True):
            axis.text(value, place, f" {value}", va="center", fontsize=7)
    labels = [drawable(name, fallback, f"#{k}") for k, name in enumerate(shown, 1)]
    axis.set_yticks(
        [row + height * (len(counts) - 1) / 2 for row in range(len(shown))],
        labels,
        family=families(fallback),
    )
    axis.invert_yaxis()
    more = f" (the first {SHOWN} of {len(names)})" if len(names) > SHOWN else ""
    axis.set_title(drawable(title, fallback, "classes") + more, family=families(fallback))
    axis.set_xlabel("rows")
    axis.margins(x=0.1)
    if len(counts) > 1:
        axis.legend(prop={"family": families(fallback)}, bbox_to_anchor=(1.01, 1), loc="upper left")
    save(figure, path)


@picture
def aspect_bars(classes: Mapping[str, Mapping[str, int]], title: str, path: Path) -> None:
    """A bar for each label column, cut into the shares of its classes."""
    count, classes = len(classes), dict(islice(classes.items(), SHOWN))
    totals = sum((Counter(counts) for counts in classes.values()), Counter())
    names = sorted(name for name, _ in totals.most_common(SHOWN))
    fallback = font_for("".join([*names, *classes, title]))
    figure, axis = plt.subplots(figsize=(9, 1.2 + 0.3 * len(classes)))
    left = np.zeros(len(classes))
    for k, name in enumerate(names, 1):
        shares = np.array(
            [counts.get(name, 0) / max(1, sum(counts.values())) for counts in classes.values()]
        )
        axis.barh(
            range(len(classes)), shares, left=left, label=" " + drawable(name, fallback, f"#{k}")
        )
        left += shares
    labels = [drawable(column, fallback, f"column {k}") for k, column in enumerate(classes, 1)]
    axis.set_yticks(range(len(classes)), labels, family=families(fallback))
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel="share of the rows")
    limits = f" (the first {SHOWN} of {count} columns)" if len(classes) < count else ""
    limits += f" (the largest {SHOWN} of {len(totals)} classes)" if len(names) < len(totals) else ""
    axis.set_title(drawable(title, fallback, "classes") + limits, family=families(fallback))
    axis.legend(prop={"family": families(fallback)}, bbox_to_anchor=(1.01, 1), loc="upper left")
    save(figure, path)


@picture
def target_histogram(targets: Mapping[str, Sequence[float]], title: str, path: Path) -> None:
    """How the scores of each target are spread, one panel a target."""
    count, targets = len(targets), dict(islice(targets.items(), TARGETS))
    columns = min(3, len(targets))
    rows = -(-len(targets) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False)
    fallback = font_for("".join([*targets, title]))
    for axis in axes.flat[len(targets) :]:
        axis.axis("off")
    for k, (name, values) in enumerate(targets.items()):
        values = numbers(values)
        values = values[~np.isnan(values)]
        distinct = len(np.unique(values))
        axes.flat[k].hist(values, bins=min(40, max(10, distinct * 2 - 1)))
        axes.flat[k].set_title(
            drawable(name, fallback, f"target {k + 1}"), family=families(fallback)
        )
    limits = f" (the first {TARGETS} of {count})" if len(targets) < count else ""
    figure.tight_layout()
    figure.suptitle(
        drawable(title, fallback, "targets") + limits, family=families(fallback), y=1, va="bottom"
    )
    save(figure, path)
