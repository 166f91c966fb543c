"""benchmark.png: latency, throughput, size and memory of each variant."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

from trainer_ext.export.benchmark.results import Benchmark, LatencyRow
from trainer_ext.figures import picture, plt, save

MARKERS = "osD^vPX"
SIDEWAYS = 1.015  # a factor of the length, so that no bar covers another
WHOLE_RANGE = 1.25  # of the longest bar, so that its number has room


@picture
def benchmark_picture(benchmark: Benchmark, path: Path) -> None:
    """Draw p50 and p95 at batch 1, texts a second at the largest batch, the size of the files, and peak memory."""
    figure, axes = plt.subplots(
        2, 2, figsize=(13, 9.5), layout="constrained", gridspec_kw={"height_ratios": (3, 2)}
    )
    (latency, throughput), (size, memory) = axes
    draw_latency(latency, benchmark)
    draw_throughput(throughput, benchmark)
    sizes = [variant.bytes for variant in benchmark.variants]
    draw_megabytes(size, benchmark, sizes, "file, MB")
    peaks = [variant.peak_memory_bytes or 0 for variant in benchmark.variants]
    draw_megabytes(memory, benchmark, peaks, "peak memory of the process, MB (one thread)")
    cores = f"{benchmark.cores} cores"
    if benchmark.cores == 1:
        cores = "1 core"
    figure.suptitle(f"{benchmark.instruction_set}, {cores}; chosen: {benchmark.chosen}")
    # Outside: within a panel some line would run below it.
    figure.legend(*latency.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save(figure, path)


def draw_latency(axis: Axes, benchmark: Benchmark) -> None:
    """Draw a line for each variant: p50 over the length, with a bar up to p95."""
    for number, variant in enumerate(benchmark.variants):
        rows = benchmark.rows_with(variant=variant.name, threads=1, batch_size=1)
        medians = [row.ms_p50 for row in rows]
        above = [row.ms_p95 - row.ms_p50 for row in rows]
        axis.errorbar(
            beside(lengths_of(rows), number),
            medians,
            yerr=[[0.0] * len(rows), above],
            color=color_of(number),
            marker=MARKERS[number % len(MARKERS)],
            capsize=3,
            label=variant.label,
        )
    scale(axis, benchmark)
    axis.set_ylabel("ms")
    axis.set_title("one text at a time, one thread: p50, bars to p95")


def draw_throughput(axis: Axes, benchmark: Benchmark) -> None:
    """Draw texts a second over the length, at the largest batch: a line for each variant and number of threads."""
    batch_size = max(row.batch_size for row in benchmark.rows)
    counts = benchmark.counts_of_threads()
    for number, variant in enumerate(benchmark.variants):
        for threads, style in zip(counts, ("-", "--"), strict=False):
            rows = benchmark.rows_with(variant=variant.name, threads=threads, batch_size=batch_size)
            axis.plot(
                lengths_of(rows),
                [row.texts_per_second for row in rows],
                style,
                color=color_of(number),
                marker=MARKERS[number % len(MARKERS)],
            )
    scale(axis, benchmark)
    axis.set_ylabel("texts a second")
    title = f"{batch_size} texts at a time, one thread"
    if len(counts) > 1:
        title = f"{title}; dashed: {counts[-1]} threads"
    axis.set_title(title)


def scale(axis: Axes, benchmark: Benchmark) -> None:
    """Make both axes logarithmic: lengths double, and variants differ by factors."""
    lengths = sorted({row.length for row in benchmark.rows})
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(lengths))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_yscale("log")
    # Labels also where the figures do not reach from one power of ten to the next.
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.grid(True, alpha=0.25)
    axis.set_xlabel("tokens")


def draw_megabytes(axis: Axes, benchmark: Benchmark, sizes: list[int], label: str) -> None:
    """Draw a bar for each variant, with its number."""
    megabytes = [size / 1e6 for size in sizes]
    names = [variant.name for variant in benchmark.variants]
    colors = [color_of(number) for number in range(len(names))]
    bars = axis.barh(names, megabytes, color=colors)
    axis.bar_label(bars, fmt="%.3g", padding=4)
    axis.invert_yaxis()
    axis.set_xlim(0, WHOLE_RANGE * max(megabytes))
    axis.set_xlabel(label)


def beside(lengths: list[int], number: int) -> list[float]:
    """Return where to draw one of several variants: a little to the side of each length."""
    factor = SIDEWAYS ** (number - 2)
    return [factor * length for length in lengths]


def lengths_of(rows: list[LatencyRow]) -> list[int]:
    """Return the lengths of some rows."""
    return [row.length for row in rows]


def color_of(number: int) -> str:
    """Return the colour of a variant, by its place."""
    return f"C{number}"
