"""PNG plots of what goes wrong in which rows: how far probabilities can be trusted, and which lengths are hard."""

from collections.abc import Sequence
from pathlib import Path

from trainer_ext.figures import picture, plt, save, short
from trainer_ext.reports.plots import REFERENCE_LINE
from trainer_ext.reports.row_tables import LengthBin, ReliabilityBin


@picture
def reliability_diagram(parts: dict[str, Sequence[ReliabilityBin]], path: Path) -> None:
    """Draw how often the model is right over how sure it is; below the diagonal it is too sure.

    Args:
        parts: bins of each part of an answer, by its name.
        path: of the picture.
    """
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(6, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    top.plot([0, 1], [0, 1], label="as sure as right", **REFERENCE_LINE)
    for name, bins in parts.items():
        confidence = [found.confidence for found in bins]
        right = [found.right for found in bins]
        top.plot(confidence, right, marker="o", markersize=4, label=short(name))
        # Every part has as many bins; the same place in each, so that the steps can be compared.
        bottom.step(confidence, [found.items for found in bins], where="mid")
    top.set_ylabel("share that is right")
    top.set_ylim(-0.02, 1.02)
    top.legend(loc="upper left", fontsize=8)
    bottom.set_xlabel("probability that the model gave")
    bottom.set_ylabel("decisions")
    bottom.set_ylim(bottom=0)
    save(figure, path)


@picture
def length_plot(bins: Sequence[LengthBin], unit: str, measure: str, path: Path) -> None:
    """Draw the error over the length of the rows, in bins of equally many rows.

    Args:
        bins: by length.
        unit: of the lengths.
        measure: what the error is.
        path: of the picture.
    """
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    places = list(range(len(bins)))
    axis.bar(places, [found.error for found in bins], color="tab:blue")
    names = [range_name(found) for found in bins]
    axis.set_xticks(places, names, rotation=30, ha="right", fontsize=8)
    for place, found in zip(places, bins, strict=True):
        text = f"{found.error:.3f}\n{found.rows} rows"
        axis.text(place, found.error, text, ha="center", va="bottom", fontsize=7)
    axis.margins(y=0.2)  # room for the numbers
    axis.set_xlabel(f"length in {unit}")
    axis.set_ylabel(measure)
    save(figure, path)


def range_name(found: LengthBin) -> str:
    """Return the lengths of a bin as its label."""
    if found.shortest == found.longest:
        return str(found.shortest)
    return f"{found.shortest}–{found.longest}"
