"""Measure an export on the machine at hand: every file of it, and what it was made of, in turns."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from itertools import product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from trainer_ext.cores import available_cores
from trainer_ext.errors import RunError
from trainer_ext.export.benchmark.contenders import Contender, Contenders
from trainer_ext.export.benchmark.picture import benchmark_picture
from trainer_ext.export.benchmark.process import WorkerProcess
from trainer_ext.export.benchmark.results import Benchmark, latency_row
from trainer_ext.export.benchmark.rows import BATCH_SIZES, draw_rows
from trainer_ext.export.recorded import read_export_report
from trainer_ext.export.report import library_versions
from trainer_ext.files import scratch_folder, write_json
from trainer_ext.inference.folder import read_pipeline, read_tokenizer
from trainer_ext.inference.hardware import instruction_set

BENCHMARK = "benchmark.json"
PICTURE = "benchmark.png"

WARM_UP = 2  # rounds; the first runs of a shape allocate memory and fill caches
MOST_ROUNDS = 50  # of each length and batch
FEWEST_ROUNDS = 5
FEWEST_LONG_ROUNDS = 2
# For each variant: rounds end after so long if there were enough of them ...
SECONDS = 1.0
# ... and after so long in any case: a large model on a small CPU would take hours.
LONG_SECONDS = 5.0
SEED = 0


def benchmark_export(folder: Path, trust_remote_code: bool = False) -> Benchmark:
    """Measure an exported model, and write benchmark.json and benchmark.png into its folder.

    Every variant is loaded in a process of its own, and all of them answer the same rows in turns. The whole is done
    with one thread, then with as many as there are cores.

    Args:
        folder: of the export.
        trust_remote_code: whether code that the checkpoint brings may be run.

    Returns:
        What was measured, and notes on what could not be.

    Raises:
        UserError: if the folder is not an export, or none of its files is there.
    """
    report = read_export_report(folder)
    pipeline = read_pipeline(folder)
    cores = available_cores()
    with scratch_folder(folder / "benchmark") as scratch:
        rows = draw_rows(read_tokenizer(folder), pipeline)
        rows_file = scratch / "rows.json"
        write_json(rows_file, rows)
        contenders = Contenders(folder, report, scratch, rows_file, trust_remote_code)
        found = contenders.gather()
        benchmark = Benchmark(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            instruction_set=instruction_set(),
            cores=cores,
            versions=library_versions(),
            chosen=report["chosen"],
            variants=[contender.variant for contender in found],
            notes=contenders.notes,
        )
        measure(benchmark, found, list(rows), sorted({1, cores}))
    write_json(folder / BENCHMARK, benchmark.to_dict())
    benchmark_picture(benchmark, folder / PICTURE)
    return benchmark


def measure(
    benchmark: Benchmark,
    contenders: Iterable[Contender],
    lengths: list[int],
    counts_of_threads: list[int],
) -> None:
    """Fill in rows and peak memory.

    Args:
        benchmark: to be filled in.
        contenders: that take part.
        lengths: of the rows.
        counts_of_threads: with how many threads, one after the other; the first is 1.
    """
    cells = list(product(lengths, BATCH_SIZES))
    total = len(cells) * len(counts_of_threads)
    with tqdm(total=total, desc="benchmark", unit="cell") as bar:
        for threads in counts_of_threads:
            with Race(benchmark, threads) as race:
                race.start(contenders)
                for length, batch_size in cells:
                    race.run(length, batch_size)
                    bar.update()
                if threads == 1:
                    race.record_memory()


class Race:
    """The processes of all variants with one number of threads, measured in turns; they end with the block.

    Args:
        benchmark: gets the rows, and a note on each process that fails.
        threads: of each process.
    """

    def __init__(self, benchmark: Benchmark, threads: int):
        self.benchmark = benchmark
        self.threads = threads
        self.workers: dict[str, WorkerProcess] = {}
        # The same order in each round would give each variant the caches that one other leaves behind.
        self.generator = np.random.default_rng(SEED)
        self._stack = ExitStack()

    def __enter__(self) -> "Race":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def start(self, contenders: Iterable[Contender]) -> None:
        """Load every variant in a process of its own; one that cannot be loaded is noted."""
        by_name = {}
        for contender in contenders:
            worker = WorkerProcess(replace(contender.job, threads=self.threads))
            self._stack.callback(worker.end)
            self.workers[contender.variant.name] = worker
            by_name[contender.variant.name] = contender.variant
        for name, worker in list(self.workers.items()):
            try:
                by_name[name].runs_on = worker.wait_until_loaded()
            except RunError as error:
                self.drop(name, error)

    def run(self, length: int, batch_size: int) -> None:
        """Measure one length and batch size: rounds in which each variant answers the same batch."""
        for _ in range(WARM_UP):
            self.round(length, batch_size)
        times: dict[str, list[float]] = {}
        start = time.monotonic()
        rounds = 0
        while not is_enough(rounds, time.monotonic() - start, len(self.workers)):
            for name, seconds in self.round(length, batch_size).items():
                times.setdefault(name, []).append(seconds)
            rounds += 1
        # In the order of the variants. What one that failed has measured before is left out.
        for name in self.workers:
            row = latency_row(name, self.threads, length, batch_size, times[name])
            self.benchmark.rows.append(row)

    def round(self, length: int, batch_size: int) -> dict[str, float]:
        """Let each variant answer once, in random order; returns the seconds of those that did."""
        times = {}
        names = list(self.workers)
        for number in self.generator.permutation(len(names)):
            name = names[number]
            try:
                times[name] = self.workers[name].seconds(length, batch_size)
            except RunError as error:
                self.drop(name, error)
        return times

    def record_memory(self) -> None:
        """Fill in the peak memory of each variant."""
        for variant in self.benchmark.variants:
            worker = self.workers.get(variant.name)
            if worker is not None:
                variant.peak_memory_bytes = worker.peak_memory()

    def drop(self, name: str, error: RunError) -> None:
        """Go on without a variant."""
        del self.workers[name]
        self.benchmark.notes.append(f"{name} is not measured with threads={self.threads}: {error}")


def is_enough(rounds: int, seconds: float, variants: int) -> bool:
    """Tell whether one length and batch size has been measured for long enough.

    Args:
        rounds: so far.
        seconds: that they took, of all variants together.
        variants: that take part.
    """
    if rounds >= MOST_ROUNDS or not variants:
        return True
    if rounds >= FEWEST_ROUNDS and seconds >= SECONDS * variants:
        return True
    return rounds >= FEWEST_LONG_ROUNDS and seconds >= LONG_SECONDS * variants
