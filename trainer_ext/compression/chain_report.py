"""What a chain of compression leaves to read: compression_report.json, .md and .png.

One row for each stage, the start first and the INT8 export last: what it is, and what it does.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from trainer_ext.figures import picture, plt, save, short
from trainer_ext.files import write_json, write_text
from trainer_ext.tables import markdown_table, table

REPORT = "compression_report"
MEASURES = (
    "bytes: of the checkpoint's weights, of the export its model file; metric: on the validation rows; latency_ms_p50: "
    "of one text of `length` tokens on one thread, without tokenising, of plain ONNX (of the export: of what answers); "
    "peak_memory_bytes: of a process that answers with it"
)
LABEL_ROWS = 3
HEADERS = (
    "stage",
    "metric",
    "points lost",
    "MB",
    "parameters",
    "ms p50",
    "times as fast",
    "peak MB",
)


@dataclass(frozen=True)
class StageRow:
    """One model of a chain.

    Attributes:
        name: `start`, the stage's, and of the export the file that was chosen.
        folder: of the model.
        bytes: of its weights on disk.
        metric: the task's default metric on the validation rows.
        parameters: of the model; None of a file that is not recorded to have a number of them.
        latency_ms_p50: of one text; None if it could not be measured.
        peak_memory_bytes: of its process; None if it could not be measured.
        runs_on: what answered.
    """

    name: str
    folder: str
    bytes: int
    metric: float
    parameters: int | None
    latency_ms_p50: float | None = None
    peak_memory_bytes: int | None = None
    runs_on: str = ""


@dataclass(frozen=True)
class ChainReport:
    """All stages, and how they were measured; the fields are the keys of compression_report.json.

    Attributes:
        metric_name: the task's default metric.
        length: tokens of the text whose latency is measured.
        instruction_set: of this CPU.
        versions: of the libraries.
        stages: in their order.
        notes: what could not be measured, and why.
    """

    metric_name: str
    length: int
    instruction_set: str
    versions: dict[str, str]
    stages: list[StageRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of compression_report.json."""
        return {"measures": MEASURES, **asdict(self)}


def write_report(folder: Path, report: ChainReport) -> None:
    """Write the report as JSON, Markdown and a picture, and print its table."""
    write_json(folder / f"{REPORT}.json", report.to_dict())
    write_text(folder / f"{REPORT}.md", markdown(report))
    # One chain needs no legend.
    frontier_picture({"": report.stages}, report.metric_name, folder / f"{REPORT}.png")
    print(f"\n{table(cells(report.stages), HEADERS, decimals=2)}\n\n{how_to_read(report)}")
    for note in report.notes:
        print(note)


def cells(stages: Sequence[StageRow]) -> list[tuple[Any, ...]]:
    """Return a line of the table for each stage; losses and speed against the first."""
    # Losses and speed are told against what the chain began with.
    start = stages[0]
    rows = []
    for stage in stages:
        times = None
        if start.latency_ms_p50 and stage.latency_ms_p50:
            times = start.latency_ms_p50 / stage.latency_ms_p50
        memory = None if stage.peak_memory_bytes is None else round(stage.peak_memory_bytes / 1e6)
        parameters = None if stage.parameters is None else f"{stage.parameters:,}"
        rows.append(
            (
                stage.name,
                f"{stage.metric:.4f}",
                100 * (start.metric - stage.metric),
                stage.bytes / 1e6,
                parameters,
                stage.latency_ms_p50,
                times,
                memory,
            )
        )
    return rows


def how_to_read(report: ChainReport) -> str:
    """Return a sentence on what the table holds."""
    return (
        f"{report.metric_name} on the validation rows; one text of {report.length} tokens on one thread "
        f"({report.instruction_set}): plain ONNX, the last row as predict.py answers."
    )


def markdown(report: ChainReport) -> str:
    """Return compression_report.md."""
    rows = [list(map(shown, row)) for row in cells(report.stages)]
    lines = ["# Compression, stage by stage", "", *markdown_table(HEADERS, rows)]
    lines += ["", how_to_read(report), *report.notes, "", f"![frontier]({REPORT}.png)", ""]
    return "\n".join(lines)


def shown(cell: Any) -> str:
    """Return a cell as text."""
    if cell is None:
        return ""
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


@picture
def frontier_picture(chains: dict[str, Sequence[StageRow]], metric_name: str, path: Path) -> None:
    """Draw the metric over size on the left and over latency on the right, a line for each chain."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), sharey=True)
    for name, stages in chains.items():
        draw_line(left, name, stages, [stage.bytes / 1e6 for stage in stages])
        draw_line(right, name, stages, [stage.latency_ms_p50 for stage in stages])
    left.set_xlabel("MB on disk")
    left.set_ylabel(short(metric_name))
    right.set_xlabel("ms a text (p50, one thread)")
    for axis in (left, right):
        # Sizes and times differ by factors.
        axis.set_xscale("log")
        # Its own labels are formulas, which are not drawn as such here.
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(x=0.15, y=0.25)
        axis.grid(alpha=0.3)
    if len(chains) > 1:
        right.legend()
    figure.suptitle("Further left is smaller and faster, further up is better")
    figure.tight_layout()
    save(figure, path)


def draw_line(
    axis: Axes, name: str, stages: Sequence[StageRow], places: Sequence[float | None]
) -> None:
    """Draw the stages of a chain that were measured, each with its name."""
    # What could not be measured has no place.
    found = [(x, stage) for x, stage in zip(places, stages, strict=True) if x is not None]
    axis.plot([x for x, _ in found], [stage.metric for _, stage in found], "o-", label=name)
    for number, (x, stage) in enumerate(found):
        # In three rows: neighbours are often as good and as small as each other.
        height = 6 + 12 * (number % LABEL_ROWS)
        axis.annotate(
            short(stage.name),
            (x, stage.metric),
            (0, height),
            textcoords="offset points",
            ha="center",
        )
