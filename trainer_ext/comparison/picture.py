"""The comparison as a picture: each run's metric with its interval, and its difference from the first."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from trainer_ext.comparison.paired import Interval
from trainer_ext.comparison.table import Compared
from trainer_ext.figures import picture, plt, save, short, shown

MOST_RUNS = 60


@picture
def comparison_picture(compared: Compared, path: Path) -> None:
    """Draw the metric of each run on the left and its difference from the first on the right, the first run on top."""
    names, family = shown(compared.names[:MOST_RUNS])
    height = 1.4 + 0.4 * len(names)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, height), sharey=True)
    metric = compared.runs[0].task.default_metric
    draw_intervals(left, compared.judged.metrics[:MOST_RUNS])
    for row, run in enumerate(compared.runs[:MOST_RUNS]):
        # Of one model the dot would hide behind the mark of the interval.
        if run.members > 1:
            left.plot(run.each, [row] * run.members, "o", color="tab:gray", markersize=3, zorder=1)
    differences = [comparison.difference for comparison in compared.judged.comparisons]
    first = Interval(0.0, 0.0, 0.0)
    draw_intervals(right, [first, *differences][:MOST_RUNS])
    right.axvline(0, color="tab:gray", linestyle="--", linewidth=1)
    left.set_yticks(range(len(names)), names, family=family)
    # The first row of the table is the first of the picture.
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_xlabel(f"{short(metric)}, 95% interval over rows")
    right.set_xlabel(f"difference from {names[0]}, 95%")
    better = "right" if compared.runs[0].task.greater_is_better else "left"
    figure.suptitle(f"Further {better} is better")
    figure.tight_layout()
    save(figure, path)


def draw_intervals(axis: Axes, intervals: Sequence[Interval]) -> None:
    """Draw a mark and its interval in each row."""
    values = [interval.value for interval in intervals]
    # A bound of resamples may lie on the other side of what was measured.
    below = [max(0.0, interval.value - interval.low) for interval in intervals]
    above = [max(0.0, interval.high - interval.value) for interval in intervals]
    axis.errorbar(values, range(len(values)), xerr=[below, above], fmt="s", capsize=3, markersize=5)
    axis.grid(axis="x", alpha=0.3)
