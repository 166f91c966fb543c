"""Balancing a million rows: `python benchmarks/balancing_speed.py`.

For each task and method an epoch's rows are drawn, as row numbers alone, and handed out one by one in random order, as
the data loader takes them: input rows per second of one core, all in. `peak` is the largest memory held meanwhile
beyond the labels (tracemalloc, which numpy reports to), `held` what is held after two epochs, in bytes per input row.
The labels are random: 10 classes from 40% down to 0.2%, 28 labels from 30% to 0.2%, 20 aspects of 4 classes. Last, a
file of as many rows through `python -m trainer_ext.data.balance`, and its peak beyond that of a file of 1,000 rows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import deque
from pathlib import Path

import numpy as np

from trainer_ext.data.sampling.resample import METHODS, make_resampler
from trainer_ext.data.sampling.sampler import BalancedSampler
from trainer_ext.reports.tables import table
from trainer_ext.tasks import TASKS


def random_labels(task: str, rows: int) -> np.ndarray:
    """Imbalanced labels, encoded."""
    generator = np.random.default_rng(0)
    if task == "single_label":
        shares = np.geomspace(0.4, 0.002, 10)
        return generator.choice(10, rows, p=shares / shares.sum())
    if task == "multi_label":
        return (
            generator.random((rows, 28), dtype=np.float32) < np.geomspace(0.3, 0.002, 28)
        ).astype(np.int8)
    return generator.choice(4, (rows, 20), p=[0.62, 0.04, 0.09, 0.25]).astype(np.int8)


def measure(task: str, method: str, rows: int) -> list:
    """One line of the table."""
    labels = random_labels(task, rows)
    start = time.process_time()
    sampler = BalancedSampler(
        make_resampler(TASKS[task].classes_to_balance(labels), method), seed=0
    )
    deque(iter(sampler), maxlen=0)
    seconds = time.process_time() - start
    del sampler
    tracemalloc.start()
    sampler = BalancedSampler(
        make_resampler(TASKS[task].classes_to_balance(labels), method), seed=0
    )
    for epoch in range(2):
        sampler.set_epoch(epoch)
        deque(iter(sampler), maxlen=0)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return [
        task,
        method,
        len(sampler),
        f"{rows / seconds / 1e6:.1f}",
        f"{peak / rows:.0f}",
        f"{held / rows:.0f}",
    ]


def measure_file(rows: int, folder: Path) -> tuple[float, float]:
    """Seconds of one core, and peak memory in MB, of a file through the command line, start-up included."""
    source = folder / f"{rows}.jsonl"
    with open(source, "w") as file:
        for label in random_labels("single_label", rows):
            file.write(
                json.dumps(
                    {"text": "a text of some length, as titles are " * 2, "label": f"class {label}"}
                )
                + "\n"
            )
    command = ["--method", "hybrid", "--input", str(source), "--output", str(folder / "out.jsonl")]
    code = (
        "import json, re, sys, time; from trainer_ext.cli.balance import main; main(sys.argv[1:])\n"
        "peak = int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) * 1024 / 1e6\n"
        "print(json.dumps([time.process_time(), peak]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    tasks = ("single_label", "multi_label", "multi_aspect")
    lines = [measure(task, method, args.rows) for task in tasks for method in METHODS]
    headers = ["task", "method", "rows an epoch", "million rows/s", "peak", "held"]
    print(f"{args.rows} rows\n\n{table(lines, headers)}")
    with tempfile.TemporaryDirectory() as folder:
        _, small = measure_file(1_000, Path(folder))
        seconds, large = measure_file(args.rows, Path(folder))
    print(
        f"\nfile: {args.rows / seconds:.0f} rows/s (read twice, written once); {large:.0f} MB at most, "
        f"{large - small:.0f} MB more than for 1000 rows"
    )


if __name__ == "__main__":
    main()
