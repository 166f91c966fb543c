"""Pictures of a search: its history, which flag mattered, and which values were good together.

Drawn here and not by Optuna, whose pictures for matplotlib are experimental and put labels over each other.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from trainer_ext.figures import picture, plt, save, short

NAMES = ("search_history", "search_importance", "search_parallel")
PICTURES = tuple(f"plots/{name}.png" for name in NAMES)
TICKS = 5  # on the axis of a range
COLORS = "viridis"


def draw(study: optuna.Study, folder: Path, metric: str) -> None:
    """Draw all pictures into a folder."""
    completed = study.get_trials(states=(TrialState.COMPLETE,))
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    is_maximum = study.direction == optuna.study.StudyDirection.MAXIMIZE
    draw_history(completed, pruned, is_maximum, metric, folder / "search_history.png")
    # An importance is a share of the differences between trials.
    if len({trial.value for trial in completed}) > 1:
        draw_importance(study, metric, folder / "search_importance.png")
    draw_parallel(completed, metric, folder / "search_parallel.png")


@picture
def draw_history(
    completed: Sequence[FrozenTrial],
    pruned: Sequence[FrozenTrial],
    is_maximum: bool,
    metric: str,
    path: Path,
) -> None:
    """Draw the result of each trial, the best one so far, and where trials were pruned."""
    figure, axis = plt.subplots(figsize=(8, 4))
    numbers = [trial.number for trial in completed]
    values = np.array([trial.value for trial in completed], dtype=float)
    so_far = np.maximum.accumulate(values) if is_maximum else np.minimum.accumulate(values)
    axis.step(numbers, so_far, where="post", color="tab:red", label="best so far")
    axis.plot(numbers, values, "o", color="tab:blue", label="completed")
    if pruned:
        last = [list(trial.intermediate_values.values())[-1] for trial in pruned]
        where = [trial.number for trial in pruned]
        axis.plot(where, last, "x", color="tab:gray", label="pruned, its last evaluation")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("trial")
    axis.set_ylabel(short(metric))
    axis.legend()
    save(figure, path)


@picture
def draw_importance(study: optuna.Study, metric: str, path: Path) -> None:
    """Draw the share of each flag in the differences between results.

    Source: fANOVA (Hutter et al. 2014, Proceedings of ICML), as Optuna computes it.
    """
    # The forest is drawn at random: the same study should give the same picture.
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    names = list(shares)[::-1]
    figure, axis = plt.subplots(figsize=(8, 1 + 0.5 * len(names)))
    bars = axis.barh([short(name) for name in names], [shares[name] for name in names])
    axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.set_xlim(0, 1.1)
    axis.set_xlabel(f"share of the differences in {short(metric)}")
    save(figure, path)


@picture
def draw_parallel(completed: Sequence[FrozenTrial], metric: str, path: Path) -> None:
    """Draw a line for each trial through its values, the best ones last and brightest."""
    flags = list(completed[0].distributions)
    values = np.array([trial.value for trial in completed])
    spread = max(float(np.ptp(values)), 1e-12)
    heights = [heights_of(flag, completed) for flag in flags]
    figure, axis = plt.subplots(figsize=(2.2 * (len(flags) + 1) + 2, 5))
    colors = plt.get_cmap(COLORS)
    for row in np.argsort(values):
        share = (values[row] - values.min()) / spread
        points = [height[row] for height in heights]
        axis.plot([share, *points], color=colors(share), marker="o", markersize=4)
    label_axis(axis, 0, np.linspace(0, 1, TICKS), np.linspace(values.min(), values.max(), TICKS))
    for place, flag in enumerate(flags, 1):
        label_flag(axis, place, completed[0].distributions[flag])
    axis.set_xticks(range(len(flags) + 1), [short(metric), *map(short, flags)])
    axis.set_yticks([])
    axis.set_xlim(-0.1, len(flags) + 0.7)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)
    save(figure, path)


def heights_of(flag: str, trials: Sequence[FrozenTrial]) -> list[float]:
    """Return where the value of each trial lies on the axis of a flag, from 0 to 1."""
    distribution = trials[0].distributions[flag]
    return [height_of(trial.params[flag], distribution) for trial in trials]


def height_of(value: Any, distribution: Any) -> float:
    """Return where a value lies on its axis: choices at equal distances, ranges with `log` by their logarithm."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value) / max(len(distribution.choices) - 1, 1)
    low, high, number = (float(x) for x in (distribution.low, distribution.high, value))
    if distribution.log:
        low, high, number = np.log([low, high, number])
    return float((number - low) / (high - low))


def label_flag(axis: Axes, place: int, distribution: Any) -> None:
    """Draw the axis of a flag with its values."""
    if isinstance(distribution, CategoricalDistribution):
        places = [height_of(choice, distribution) for choice in distribution.choices]
        label_axis(axis, place, places, distribution.choices)
        return
    heights = np.linspace(0, 1, TICKS)
    low, high = float(distribution.low), float(distribution.high)
    values = low + heights * (high - low)
    if distribution.log:
        values = low * (high / low) ** heights
    label_axis(axis, place, heights, values)


def label_axis(axis: Axes, place: int, heights: Iterable[float], values: Iterable) -> None:
    """Draw a vertical line with a label at each height, to its right."""
    axis.axvline(place, color="black", linewidth=1)
    for height, value in zip(heights, values, strict=True):
        text = f"{value:.3g}" if isinstance(value, float) else short(str(value))
        axis.annotate(
            text,
            (place, height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
        )
