"""What a benchmark found: benchmark.json, and the table on the screen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from trainer_ext.tables import table

# What the numbers of benchmark.json are, for who reads it without the documentation.
MEASURES = {
    "ms_p50, ms_p95, ms_p99": "wall time for `batch_size` texts of `length` tokens, from token ids to logits: "
    "without tokenising",
    "texts_per_second": "all texts over the time of all runs",
    "runs": "how often that was timed; p95 and p99 of fewer than 20 and 100 are nearly the slowest one",
    "peak_memory_bytes": "largest resident memory (VmHWM, libraries included) of a process that loads this variant "
    "alone and answers all lengths and batches on one thread",
    "padded_to": "tokens that every text is padded to; null: texts are as long as they are",
}


@dataclass(frozen=True)
class LatencyRow:
    """Times of one variant at one length, batch size and number of threads; tokenising is not included."""

    variant: str
    threads: int
    length: int
    batch_size: int
    runs: int
    ms_p50: float
    ms_p95: float
    ms_p99: float
    texts_per_second: float


@dataclass
class BenchmarkVariant:
    """One way to answer, and what it takes.

    Attributes:
        name: as in the export report; `plain_onnx`, `plain_int8`: what Optimum (or torch) and `quantize_dynamic` make.
        file: its name.
        bytes: its size, with weights beside it.
        padded_to: tokens that every text is padded to; None: texts are as long as they are.
        runs_on: what answers, and where.
        peak_memory_bytes: largest resident memory of its process; None if that ended early.
    """

    name: str
    file: str
    bytes: int
    padded_to: int | None = None
    runs_on: str = ""
    peak_memory_bytes: int | None = None

    @property
    def label(self) -> str:
        """Return the name, and what the variant does otherwise than the others."""
        if self.padded_to is None:
            return self.name
        return f"{self.name} (padded to {self.padded_to})"


@dataclass
class Benchmark:
    """All that was measured; the fields are the keys of benchmark.json.

    Attributes:
        date: in UTC.
        instruction_set: of this CPU.
        cores: that this process may use.
        versions: of the libraries.
        chosen: the variant that `predict.py` takes.
        variants: what was measured.
        rows: times of each variant.
        notes: what could not be measured, and why.
    """

    date: str
    instruction_set: str
    cores: int
    versions: dict[str, str]
    chosen: str
    variants: list[BenchmarkVariant]
    rows: list[LatencyRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of benchmark.json."""
        return {"measures": MEASURES, **asdict(self)}

    def rows_with(self, **values: Any) -> list[LatencyRow]:
        """Return the rows with these values: `rows_with(threads=1, batch_size=1)`."""
        found = []
        for row in self.rows:
            if all(getattr(row, name) == value for name, value in values.items()):
                found.append(row)
        return found

    def counts_of_threads(self) -> list[int]:
        """Return the numbers of threads that were measured, in ascending order."""
        return sorted({row.threads for row in self.rows})


def latency_row(
    variant: str, threads: int, length: int, batch_size: int, seconds: Sequence[float]
) -> LatencyRow:
    """Return the row for the seconds of each run."""
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]).tolist()
    texts = batch_size * len(seconds)
    return LatencyRow(
        variant=variant,
        threads=threads,
        length=length,
        batch_size=batch_size,
        runs=len(seconds),
        ms_p50=round(1000 * p50, 3),
        ms_p95=round(1000 * p95, 3),
        ms_p99=round(1000 * p99, 3),
        texts_per_second=round(texts / sum(seconds), 1),
    )


def benchmark_table(benchmark: Benchmark) -> str:
    """Format a line for each length and variant: one text at a time on one thread, with size and memory."""
    headers = (
        "tokens",
        "variant",
        "ms p50",
        "ms p95",
        "ms p99",
        "texts/s",
        "file MB",
        "peak memory MB",
    )
    by_name = {variant.name: variant for variant in benchmark.variants}
    rows = []
    for row in benchmark.rows_with(threads=1, batch_size=1):
        variant = by_name[row.variant]
        line = (
            row.length,
            variant.label,
            row.ms_p50,
            row.ms_p95,
            row.ms_p99,
            round(row.texts_per_second),
            variant.bytes / 1e6,
            whole_megabytes(variant.peak_memory_bytes),
        )
        rows.append(line)
    return table(rows, headers, decimals=2)


def whole_megabytes(size: int | None) -> int | None:
    """Return bytes in megabytes."""
    if size is None:
        return None
    return round(size / 1e6)
