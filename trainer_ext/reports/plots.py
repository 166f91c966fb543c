"""PNG plots of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer_ext.figures import numbers, picture, plt, save, short, shown

MOST_CLASSES = 80  # in a confusion matrix
MOST_BARS, MOST_TARGETS = 80, 30
WITH_COUNTS = 25  # classes up to which there is room for numbers


@picture
def learning_curves(
    history: Sequence[dict], metric: str, best_step: int | None, path: Path
) -> None:
    """Training loss and its terms on the left, validation loss and metric on the right, by optimizer step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    names = sorted({key for entry in history for key in entry if key.startswith("loss")})
    for name in names:
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        plot(left, points, label=name, linewidth=2 if name == "loss" else 1)
    left.set(xlabel="step", title="training")
    twin = right.twinx()
    for axis, key, color in (
        (right, f"eval_{metric}", "tab:blue"),
        (twin, "eval_loss", "tab:gray"),
    ):
        points = [(entry["step"], entry[key]) for entry in history if key in entry]
        if points:
            plot(axis, points, color=color, marker="o", markersize=3, label=short(key))
        axis.set_ylabel(short(key), color=color)
    if best_step:
        right.axvline(
            best_step,
            color="tab:green",
            linestyle="--",
            linewidth=1,
            label=f"best: step {best_step}",
        )
        right.legend(loc="lower right")
    right.set(xlabel="step", title="validation")
    if names:
        left.legend()
    else:
        say(left, "nothing was logged:\nlogging_steps is more than the steps")
    if not any(key.startswith("eval_") for entry in history for key in entry):
        say(right, "nothing was evaluated while training:\neval_strategy is no")
    figure.tight_layout()
    save(figure, path)


def plot(axis, points: Sequence[tuple[float, float]], **style) -> None:
    """A line through (x, y), with gaps where y is not finite."""
    x, y = zip(*points, strict=True)
    axis.plot(x, numbers(y), **style)


def say(axis, text: str) -> None:
    """In the middle of a panel that has nothing to show."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center")


@picture
def fold_curves(histories: dict[str, Sequence[dict]], metric: str, path: Path) -> None:
    """Training loss and validation metric (what was logged of them) by optimizer step; a line for each model."""
    logged = {key for history in histories.values() for entry in history for key in entry}
    keys = [key for key in ("loss", f"eval_{metric}") if key in logged]
    if not keys:
        return
    figure, axes = plt.subplots(1, len(keys), figsize=(5.5 * len(keys), 4), squeeze=False)
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(histories)))
    for axis, key in zip(axes.flat, keys, strict=True):
        for color, (name, history) in zip(colors, histories.items(), strict=True):
            points = [(entry["step"], entry[key]) for entry in history if key in entry]
            if points:
                plot(axis, points, color=color, marker="o", markersize=3, linewidth=1, label=name)
        axis.set(
            xlabel="step", title="training loss" if key == "loss" else f"validation {short(metric)}"
        )
    if len(histories) <= 12:
        axes.flat[-1].legend(fontsize=8)
    figure.tight_layout()
    save(figure, path)


@picture
def confusion_matrix(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], path: Path
) -> None:
    """Counts (rows: true class, columns: predicted), coloured by the share of the row.

    Of many classes those with the most errors are drawn, and the title says so.
    """
    kept = most_confused(labels, predicted, len(classes))
    place = np.full(len(classes), -1)
    place[kept] = np.arange(len(kept))
    counts = np.zeros((len(kept), len(kept)), dtype=int)
    rows_of = np.bincount(labels, minlength=len(classes))[kept]
    inside = (place[labels] >= 0) & (place[predicted] >= 0)
    np.add.at(counts, (place[labels][inside], place[predicted][inside]), 1)
    share = counts / rows_of[:, None].clip(min=1)
    size = min(20.0, 2.5 + 0.5 * len(kept))
    figure, axis = plt.subplots(figsize=(size, size))
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    drawn, family = shown(classes)
    ticks, names = range(len(kept)), [drawn[k] for k in kept]
    axis.set_xticks(ticks, names, rotation=60, ha="right", family=family)
    axis.set_yticks(ticks, names, family=family)
    axis.set(xlabel="predicted", ylabel="true")
    if len(kept) < len(classes):
        axis.set_title(f"the {len(kept)} of {len(classes)} classes with the most errors")
    if len(kept) <= WITH_COUNTS:
        for i, j in np.ndindex(*counts.shape):
            if counts[i, j]:
                color = "white" if share[i, j] > 0.5 else "black"
                axis.text(j, i, counts[i, j], ha="center", va="center", color=color, fontsize=8)
    save(figure, path)


def most_confused(labels: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """The classes (indices, in order) that take part in the most errors, at most `MOST_CLASSES`; of equal ones those
    with more rows."""
    if count <= MOST_CLASSES:
        return np.arange(count)
    wrong = labels != predicted
    errors = np.bincount(labels[wrong], minlength=count) + np.bincount(
        predicted[wrong], minlength=count
    )
    order = np.lexsort((np.arange(count), -np.bincount(labels, minlength=count), -errors))
    return np.sort(order[:MOST_CLASSES])


@picture
def scatter(labels: np.ndarray, predicted: np.ndarray, targets: Sequence[str], path: Path) -> None:
    """Predicted over true score, (N, T) each, one panel a target, with the diagonal on which they are equal."""
    count, targets = len(targets), targets[:MOST_TARGETS]
    columns = min(3, len(targets))
    rows = -(-len(targets) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 4 * rows), squeeze=False)
    for axis in axes.flat[len(targets) :]:
        axis.axis("off")
    names, family = shown(targets)
    for k, name in enumerate(names):
        axis, true = axes.flat[k], numbers(labels[:, k])
        axis.scatter(true, numbers(predicted[:, k]), s=8, alpha=0.4)
        ends = true[~np.isnan(true)]
        if len(ends):
            ends = [ends.min(), ends.max()]
            axis.plot(ends, ends, color="tab:green", linestyle="--", linewidth=1)
        axis.set(xlabel="true", ylabel="predicted")
        axis.set_title(name, family=family)
    figure.tight_layout()
    if len(targets) < count:
        figure.suptitle(f"the first {len(targets)} of {count} targets", y=1, va="bottom")
    save(figure, path)


@picture
def bars(scores: dict[str, float], mean: float, title: str, path: Path) -> None:
    """One horizontal bar per name, lowest at the bottom, with a line at the mean; of many names the lowest."""
    drawn, family = shown(list(scores))
    lengths = np.nan_to_num(numbers(scores.values()))
    order = np.argsort(lengths, kind="stable")[:MOST_BARS]
    names, values = [drawn[k] for k in order], list(np.array(list(scores.values()))[order])
    figure, axis = plt.subplots(figsize=(8, 1 + 0.3 * len(names)))
    axis.barh(range(len(names)), lengths[order], color="tab:blue")
    axis.set_yticks(range(len(names)), names, family=family)
    axis.axvline(numbers([mean])[0], color="tab:green", linestyle="--", label=f"mean {mean:.3f}")
    for row, (length, value) in enumerate(zip(lengths[order], values, strict=True)):
        axis.text(length, row, f" {value:.3f}", va="center", fontsize=8)
    lowest = f" (the lowest {len(names)} of {len(scores)})" if len(names) < len(scores) else ""
    axis.set(xlim=(0, 1.1), title=title + lowest)
    axis.legend(loc="lower right")
    save(figure, path)
