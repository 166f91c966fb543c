"""PNG plots of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer_ext.figures import plt, save, shown


def learning_curves(history: Sequence[dict], metric: str, best_step: int | None, path: Path) -> None:
    """Training loss and its terms on the left, validation loss and metric on the right, by optimizer step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    names = sorted({key for entry in history for key in entry if key.startswith("loss")})
    for name in names:
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        left.plot(*zip(*points, strict=True), label=name, linewidth=2 if name == "loss" else 1)
    left.set(xlabel="step", title="training")
    twin = right.twinx()
    for axis, key, color in ((right, f"eval_{metric}", "tab:blue"), (twin, "eval_loss", "tab:gray")):
        points = [(entry["step"], entry[key]) for entry in history if key in entry]
        if points:
            axis.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3, label=key)
        axis.set_ylabel(key, color=color)
    if best_step:
        right.axvline(best_step, color="tab:green", linestyle="--", linewidth=1, label=f"best: step {best_step}")
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


def say(axis, text: str) -> None:
    """In the middle of a panel that has nothing to show."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center")


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
                axis.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3, linewidth=1, label=name)
        axis.set(xlabel="step", title="training loss" if key == "loss" else f"validation {metric}")
    if len(histories) <= 12:
        axes.flat[-1].legend(fontsize=8)
    figure.tight_layout()
    save(figure, path)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Counts (rows: true class, columns: predicted), coloured by the share of the row."""
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels, predicted), 1)
    share = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    size = min(20.0, 2.5 + 0.5 * len(classes))
    figure, axis = plt.subplots(figsize=(size, size))
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks, (names, family) = range(len(classes)), shown(classes)
    axis.set_xticks(ticks, names, rotation=60, ha="right", family=family)
    axis.set_yticks(ticks, names, family=family)
    axis.set(xlabel="predicted", ylabel="true")
    if len(classes) <= 25:
        for i, j in np.ndindex(*counts.shape):
            if counts[i, j]:
                color = "white" if share[i, j] > 0.5 else "black"
                axis.text(j, i, counts[i, j], ha="center", va="center", color=color, fontsize=8)
    save(figure, path)


def scatter(labels: np.ndarray, predicted: np.ndarray, targets: Sequence[str], path: Path) -> None:
    """Predicted over true score, (N, T) each, one panel a target, with the diagonal on which they are equal."""
    columns = min(3, len(targets))
    rows = -(-len(targets) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 4 * rows), squeeze=False)
    for axis in axes.flat[len(targets) :]:
        axis.axis("off")
    names, family = shown(targets)
    for k, name in enumerate(names):
        axis, true = axes.flat[k], labels[:, k]
        axis.scatter(true, predicted[:, k], s=8, alpha=0.4)
        axis.plot([true.min(), true.max()], [true.min(), true.max()], color="tab:green", linestyle="--", linewidth=1)
        axis.set(xlabel="true", ylabel="predicted")
        axis.set_title(name, family=family)
    figure.tight_layout()
    save(figure, path)


def bars(scores: dict[str, float], mean: float, title: str, path: Path) -> None:
    """One horizontal bar per name, lowest at the bottom, with a line at the mean."""
    drawn, family = shown(list(scores))
    ordered = sorted(zip(drawn, scores.values(), strict=True), key=lambda item: item[1])
    names, values = [name for name, _ in ordered], [value for _, value in ordered]
    figure, axis = plt.subplots(figsize=(8, 1 + 0.3 * len(names)))
    axis.barh(range(len(names)), values, color="tab:blue")
    axis.set_yticks(range(len(names)), names, family=family)
    axis.axvline(mean, color="tab:green", linestyle="--", label=f"mean {mean:.3f}")
    for row, value in enumerate(values):
        axis.text(value, row, f" {value:.3f}", va="center", fontsize=8)
    axis.set(xlim=(0, 1.1), title=title)
    axis.legend(loc="lower right")
    save(figure, path)
