"""export_report.png: the size of each file against what it loses, with the bounds, and its latency."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from trainer_ext.export.gate import Variant
from trainer_ext.export.report import ExportReport
from trainer_ext.export.search import EMBEDDINGS
from trainer_ext.figures import numbers, picture, plt, save, short, shown

COLORS = {True: "tab:blue", False: "tab:red"}
CHOSEN = "tab:green"
SIDEWAYS = 0.008  # of the largest size


@picture
def export_picture(report: ExportReport, path: Path) -> None:
    """Draw loss over size on the left, latency on the right, a point and a bar for each file or setting."""
    variants = drawn_variants(report)
    colors = []
    for variant in variants:
        color = COLORS[variant.good]
        if report.is_chosen_setting(variant.name, variant.setting):
            color = CHOSEN
        colors.append(color)
    height = max(4.0, 1.5 + 0.35 * len(variants))
    widths = {"width_ratios": (3, 2)}
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, height), gridspec_kw=widths)
    draw_losses(left, report, variants, colors)
    draw_latencies(right, variants, colors)
    figure.tight_layout()
    save(figure, path)


def drawn_variants(report: ExportReport) -> list[Variant]:
    """Return the float files, then every INT8 setting."""
    floats = []
    quantised = []
    for variant in report.variants:
        if variant.setting:
            quantised.append(variant)
        else:
            floats.append(variant)
    return floats + (report.frontier or quantised)


def draw_losses(
    axis: Axes,
    report: ExportReport,
    variants: Sequence[Variant],
    colors: Sequence[str],
) -> None:
    """Draw points lost over megabytes, with a line between the 95% bounds."""
    largest = max(variant.bytes for variant in variants) / 1e6
    for number, (variant, color) in enumerate(zip(variants, colors, strict=True), 1):
        points, low, high = loss_with_bounds(variant)
        # Settings have nearly the same size: a little to the side, none covers another.
        sideways = SIDEWAYS * largest * (number % 5 - 2)
        x = variant.bytes / 1e6 + sideways
        below = max(points - low, 0.0)
        above = max(high - points, 0.0)
        axis.errorbar(x, points, yerr=[[below], [above]], fmt="o", color=color, capsize=3)
        # Numbers instead of names, above the line of each.
        axis.annotate(
            str(number),
            (x, points + above),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
        )
    axis.axhline(report.max_metric_drop, color="tab:gray", linestyle="--", linewidth=1)
    axis.set_xlim(0, 1.1 * largest)
    axis.margins(y=0.1)
    axis.set_xlabel("MB")
    axis.set_ylabel(f"points of {short(report.metric_name)} lost, with 95% bounds")
    axis.set_title(f"{report.eval_rows} rows; dashed: the loss that is allowed")


def loss_with_bounds(variant: Variant) -> tuple[float, float, float]:
    """Return the points lost with their bounds, 0 where the gate measured none."""
    loss = variant.loss
    if loss is None or loss.points is None:
        return 0.0, 0.0, 0.0
    points, low, high = numbers([loss.points, loss.low or 0.0, loss.high or 0.0])
    return points, low, high


def draw_latencies(axis: Axes, variants: Sequence[Variant], colors: Sequence[str]) -> None:
    """Draw a bar for the latency of each variant, with its number in the other panel."""
    labels = []
    for number, variant in enumerate(variants, 1):
        labels.append(f"{number} {name_of(variant)}")
    names, family = shown(labels)
    places = np.arange(len(variants))
    times = numbers(variant.latency_ms_p50 for variant in variants)
    axis.barh(places, np.nan_to_num(times), color=colors)
    axis.set_yticks(places, names, family=family)
    axis.invert_yaxis()
    axis.set_xlabel("ms a text (p50, batch 1, one thread)")
    axis.set_title("green: chosen, blue: good, red: refused")


def name_of(variant: Variant) -> str:
    """Return a variant's name with what it keeps in FP32, short enough for a picture."""
    kept = [node for node in variant.fp32_nodes if node != EMBEDDINGS]
    parts = []
    if kept:
        parts.append(str(len(kept)))
    if len(kept) < len(variant.fp32_nodes):
        parts.append("embeddings")
    if not parts:
        return variant.name
    return f"{variant.name}, {' + '.join(parts)} in FP32"
