"""PNG plots of a run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from sklearn import metrics

from trainer_ext.figures import numbers, picture, plt, save, short, shown

# A picture of a thousand classes would take minutes and gigabytes, and nobody could read it.
MOST_CLASSES = 80
MOST_BARS = 80
MOST_TARGETS = 30
MOST_IN_LEGEND = 12
WITH_COUNTS = 25  # classes up to which there is room for numbers

REFERENCE_LINE: dict[str, Any] = {"color": "tab:green", "linestyle": "--", "linewidth": 1}
DOTTED: dict[str, Any] = {"marker": "o", "markersize": 3}

History = Sequence[Mapping[str, Any]]
"""What the Trainer logged: entries with a `step` and the values that were logged then."""


@picture
def learning_curves(
    history: History,
    metric: str,
    best_step: int | None,
    path: Path,
) -> None:
    """Draw training loss and its terms on the left, validation loss and metric on the right, by optimizer step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    draw_losses(left, history)
    draw_validation(right, history, metric)
    if best_step:
        right.axvline(best_step, label=f"best: step {best_step}", **REFERENCE_LINE)
        # Inside it would cover the end of a line.
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    figure.tight_layout()
    save(figure, path)


def draw_losses(axis: Axes, history: History) -> None:
    """Draw a line for the training loss and one for each of its terms."""
    axis.set_xlabel("step")
    axis.set_title("training")
    names = [name for name in sorted(logged(history)) if name.startswith("loss")]
    if not names:
        write_in_the_middle(
            axis, "no training loss was logged:\nlogging_steps exceeds the number of steps"
        )
        return
    for name in names:
        width = 2 if name == "loss" else 1
        plot(axis, points(history, name), label=name, linewidth=width)
    axis.legend()


def draw_validation(axis: Axes, history: History, metric: str) -> None:
    """Draw the validation metric, and the validation loss on an axis of its own to the right."""
    axis.set_xlabel("step")
    axis.set_title("validation")
    draw_one_metric(axis, history, f"eval_{metric}", "tab:blue")
    draw_one_metric(axis.twinx(), history, "eval_loss", "tab:gray")
    if not any(name.startswith("eval_") for name in logged(history)):
        write_in_the_middle(axis, "nothing was evaluated while training:\neval_strategy is no")


def draw_one_metric(
    axis: Axes,
    history: History,
    name: str,
    color: str,
) -> None:
    """Draw a line of one metric, if it was logged, and label the axis in its color."""
    axis.set_ylabel(short(name), color=color)
    found = points(history, name)
    if found:
        plot(
            axis,
            found,
            color=color,
            label=short(name),
            **DOTTED,
        )


def logged(history: History) -> set[str]:
    """Return the names of all values that were logged."""
    names: set[str] = set()
    for entry in history:
        names.update(entry)
    return names


def points(history: History, name: str) -> list[tuple[float, float]]:
    """Return (step, value) of each entry that has the value."""
    found = []
    for entry in history:
        if name in entry:
            found.append((entry["step"], entry[name]))
    return found


def plot(axis: Axes, points: Sequence[tuple[float, float]], **style: Any) -> None:
    """Draw a line through (x, y), with gaps at values that are not finite."""
    steps, values = zip(*points, strict=True)
    # NaN leaves a gap; an infinity would stretch the axis beyond everything else.
    axis.plot(steps, numbers(values), **style)


def write_in_the_middle(axis: Axes, text: str) -> None:
    """Explain a panel that has nothing to show."""
    axis.text(
        0.5,
        0.5,
        text,
        transform=axis.transAxes,
        ha="center",
        va="center",
    )


@picture
def fold_curves(histories: Mapping[str, History], metric: str, path: Path) -> None:
    """Draw training loss and validation metric by optimizer step, if they were logged; a line for each model."""
    names = set()
    for history in histories.values():
        names |= logged(history)
    panels = [name for name in ("loss", f"eval_{metric}") if name in names]
    if not panels:
        return
    width = 5.5 * len(panels)
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 4), squeeze=False)
    for axis, name in zip(axes.flat, panels, strict=True):
        axis.set_xlabel("step")
        axis.set_title("training loss" if name == "loss" else f"validation {short(metric)}")
        draw_models(axis, histories, name)
    if len(histories) <= MOST_IN_LEGEND:
        axes.flat[-1].legend(fontsize=8)
    figure.tight_layout()
    save(figure, path)


def draw_models(axis: Axes, histories: Mapping[str, History], name: str) -> None:
    """Draw a line of one value for each model that logged it."""
    # The end of the color map is a yellow that cannot be seen on white.
    shades = np.linspace(0, 0.9, len(histories))
    colors = plt.get_cmap("viridis")(shades)
    for color, (model, history) in zip(colors, histories.items(), strict=True):
        found = points(history, name)
        if found:
            plot(
                axis,
                found,
                color=color,
                label=model,
                linewidth=1,
                **DOTTED,
            )


@picture
def confusion_matrix(
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: Sequence[str],
    path: Path,
) -> None:
    """Draw counts (rows: true class, columns: predicted), coloured by the share of the row.

    Of many classes those with the most errors are drawn, and the title says so.
    """
    # Of all classes, also those left out: names that look the same are numbered by their place.
    names, family = shown(classes)
    kept = most_confused(labels, predicted, len(classes))
    counts = metrics.confusion_matrix(labels, predicted, labels=kept)
    # Of all rows of a class, also those predicted as a class that is not drawn.
    rows = np.bincount(labels, minlength=len(classes))[kept]
    share = counts / rows.clip(min=1)[:, None]
    size = min(20.0, 2.5 + 0.5 * len(kept))
    figure, axis = plt.subplots(figsize=(size, size))
    kept_names = [names[k] for k in kept]
    display = metrics.ConfusionMatrixDisplay(share, display_labels=kept_names)
    display.plot(
        ax=axis,
        cmap="Blues",
        include_values=len(kept) <= WITH_COUNTS,
        colorbar=False,
        im_kw={"vmin": 0, "vmax": 1},
        text_kw={"fontsize": 8},
    )
    if display.text_ is not None:
        # The display writes the shares that it colors by.
        for text, count in zip(display.text_.flat, counts.flat, strict=True):
            text.set_text(str(count) if count else "")
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    # Rotated about their end, so that it stays below its column.
    plt.setp(axis.get_xticklabels(), rotation=60, ha="right", family=family)
    plt.setp(axis.get_yticklabels(), family=family)
    if len(kept) < len(classes):
        axis.set_title(f"the {len(kept)} of {len(classes)} classes with the most errors")
    save(figure, path)


def most_confused(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the classes (indices, in order) that take part in the most errors, at most `MOST_CLASSES`.

    Of classes with equally many errors those with more rows come first.
    """
    if classes <= MOST_CLASSES:
        return np.arange(classes)
    is_wrong = labels != predicted
    errors = np.bincount(labels[is_wrong], minlength=classes)
    errors += np.bincount(predicted[is_wrong], minlength=classes)
    rows = np.bincount(labels, minlength=classes)
    # The last key of lexsort counts first.
    order = np.lexsort((np.arange(classes), -rows, -errors))
    return np.sort(order[:MOST_CLASSES])


@picture
def scatter(
    labels: np.ndarray,
    predicted: np.ndarray,
    targets: Sequence[str],
    path: Path,
) -> None:
    """Draw predicted over true scores, (N, T) each: one panel a target, with the diagonal on which they are equal."""
    drawn = targets[:MOST_TARGETS]
    columns = min(3, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    size = (4 * columns, 4 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat[len(drawn) :]:
        axis.axis("off")
    names, family = shown(drawn)
    for k, name in enumerate(names):
        axis = axes.flat[k]
        axis.set_title(name, family=family)
        draw_target(axis, numbers(labels[:, k]), numbers(predicted[:, k]))
    figure.tight_layout()
    if len(drawn) < len(targets):
        title = f"the first {len(drawn)} of {len(targets)} targets"
        figure.suptitle(title, y=1, va="bottom")  # above the titles of the panels
    save(figure, path)


def draw_target(axis: Axes, true: np.ndarray, predicted: np.ndarray) -> None:
    """Draw the scores (N,) of one target, and the diagonal from the lowest true one to the highest."""
    axis.set_xlabel("true")
    axis.set_ylabel("predicted")
    axis.scatter(true, predicted, s=8, alpha=0.4)
    # Without any score nanmin would warn, and a warning ends the picture in the tests.
    if not np.isnan(true).all():
        ends = [np.nanmin(true), np.nanmax(true)]
        axis.plot(ends, ends, **REFERENCE_LINE)


@picture
def bars(
    scores: Mapping[str, float],
    mean: float,
    title: str,
    path: Path,
) -> None:
    """Draw a horizontal bar for each name, lowest at the bottom, with a line at the mean; of many names the lowest."""
    names, family = shown(list(scores))
    values = np.array(list(scores.values()), dtype=float)
    lengths = np.nan_to_num(numbers(values))
    order = np.argsort(lengths, kind="stable")[:MOST_BARS]
    height = 1 + 0.3 * len(order)
    figure, axis = plt.subplots(figsize=(8, height))
    places = range(len(order))
    axis.barh(places, lengths[order], color="tab:blue")
    axis.set_yticks(places, [names[k] for k in order], family=family)
    axis.axvline(numbers([mean])[0], label=f"mean {mean:.3f}", **REFERENCE_LINE)
    for row, k in enumerate(order):
        # The value as it is: a NaN has a bar of no length, but it is not a score of 0.
        axis.text(
            lengths[k],
            row,
            f" {values[k]:.3f}",
            va="center",
            fontsize=8,
        )
    if len(order) < len(scores):
        title += f" (the lowest {len(order)} of {len(scores)})"
    axis.set_title(title)
    axis.set_xlim(0, 1.1)  # room for the number behind a bar of length 1
    axis.legend(loc="lower right")
    save(figure, path)
