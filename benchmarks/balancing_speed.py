"""Measure how fast a million rows are balanced: `python benchmarks/balancing_speed.py`.

For each task and method, the rows of an epoch are drawn (row numbers only) and handed out one by one in random order,
as the data loader takes them. The table shows input rows per second of one core, everything included, and memory in
bytes per input row (tracemalloc, which also sees numpy's arrays): `peak` is the most held during two epochs beyond the
labels, `held` what is held after them. The labels are random: 10 classes from 40% down to 0.2%, 28 labels from 30% to
0.2%, 20 aspects of 4 classes.

Last, a file of as many rows goes through `python -m trainer_ext.data.balance`, and its peak memory is compared with
that of a file of 1,000 rows.
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
from trainer_ext.tables import table
from trainer_ext.tasks import TASKS

TASK_NAMES = ("single_label", "multi_label", "multi_aspect")
TEXT = "a text of some length, as titles are " * 2
# Runs in a process of its own, whose peak memory is then only that of balancing the file.
BALANCE_FILE = """
import json, re, sys, time
from trainer_ext.cli.balance import main
main(sys.argv[1:])
status = open('/proc/self/status').read()
peak = int(re.search(r'VmHWM:\\s*(\\d+)', status)[1]) * 1024 / 1e6
print(json.dumps([time.process_time(), peak]))
"""


def random_labels(task: str, rows: int) -> np.ndarray:
    """Draw imbalanced labels, encoded as the task encodes them."""
    generator = np.random.default_rng(0)
    if task == "single_label":
        shares = np.geomspace(0.4, 0.002, 10)
        return generator.choice(10, rows, p=shares / shares.sum())
    if task == "multi_label":
        draws = generator.random((rows, 28), dtype=np.float32)
        return (draws < np.geomspace(0.3, 0.002, 28)).astype(np.int8)
    return generator.choice(4, (rows, 20), p=[0.62, 0.04, 0.09, 0.25]).astype(np.int8)


def make_sampler(task: str, method: str, labels: np.ndarray) -> BalancedSampler:
    """Build the sampler as train.py does."""
    classes = TASKS[task].classes_to_balance(labels)
    return BalancedSampler(make_resampler(classes, method), seed=0)


def exhaust(sampler: BalancedSampler) -> None:
    """Take all rows of an epoch without keeping them."""
    deque(iter(sampler), maxlen=0)


def measure(task: str, method: str, rows: int) -> list:
    """Measure time and memory of one method, and return its line of the table."""
    labels = random_labels(task, rows)
    start = time.process_time()
    exhaust(make_sampler(task, method, labels))
    seconds = time.process_time() - start
    # Memory in a second round: tracemalloc slows everything down.
    tracemalloc.start()
    sampler = make_sampler(task, method, labels)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        exhaust(sampler)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    speed = f"{rows / seconds / 1e6:.1f}"
    return [task, method, len(sampler), speed, f"{peak / rows:.0f}", f"{held / rows:.0f}"]


def measure_file(rows: int, folder: Path) -> tuple[float, float]:
    """Return the processor seconds and the peak memory (MB) of balancing a file, start-up included."""
    source = folder / f"{rows}.jsonl"
    with open(source, "w") as file:
        for label in random_labels("single_label", rows):
            row = {"text": TEXT, "label": f"class {label}"}
            file.write(json.dumps(row) + "\n")
    flags = ["--method", "hybrid", "--input", str(source), "--output", str(folder / "out.jsonl")]
    command = [sys.executable, "-c", BALANCE_FILE, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    lines = [measure(task, method, args.rows) for task in TASK_NAMES for method in METHODS]
    headers = ["task", "method", "rows per epoch", "million rows/s", "peak", "held"]
    print(f"{args.rows} rows\n\n{table(lines, headers)}")
    with tempfile.TemporaryDirectory() as folder:
        _, small = measure_file(1_000, Path(folder))
        seconds, large = measure_file(args.rows, Path(folder))
    speed = f"{args.rows / seconds:.0f} rows/s (read twice, written once)"
    print(
        f"\nfile: {speed}; {large:.0f} MB at most, {large - small:.0f} MB more than for 1000 rows"
    )


if __name__ == "__main__":
    main()
