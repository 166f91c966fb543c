"""Measure how long one answer takes from nothing: `python benchmarks/cold_start.py`.

Whole processes take turns: `predict.py --text` with an INT8 export, and the usual script around
`transformers.pipeline` with the checkpoint that it was made from. Each ratio is that of one pair, and the median over
the pairs counts. Processor time is what another process on the same cores changes least.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from small_model import ROOT, make_small_model

from trainer_ext.inference.hardware import instruction_set
from trainer_ext.tables import table

TEXT = "味道不错，服务员态度很好"
PIPELINE = """
import sys
import trainer_ext
from transformers import pipeline
print(pipeline("text-classification", sys.argv[1])(sys.argv[2]))
"""


@dataclass(frozen=True)
class Cost:
    """What a process took, in seconds."""

    wall: float
    cpu: float


def measure(*arguments: object) -> Cost:
    """Run `python ARGUMENTS` and return what it took."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu)


def main() -> None:
    """Print a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="where the model is kept; by default it is made anew")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint, export = make_small_model(Path(args.folder or scratch))
        ours: list[Cost] = []
        pipeline: list[Cost] = []
        # The first pair reads everything from the disk, and does not count.
        for _ in range(args.rounds + 1):
            ours.append(measure("predict.py", "--model", export, "--text", TEXT))
            pipeline.append(measure("-c", PIPELINE, checkpoint, TEXT))
    report(ours[1:], pipeline[1:])


def report(ours: list[Cost], pipeline: list[Cost]) -> None:
    """Print what both took, and how many times as long the pipeline takes."""
    rows = []
    for name, costs in (("predict.py --text", ours), ("transformers.pipeline", pipeline)):
        walls = [cost.wall for cost in costs]
        cpus = [cost.cpu for cost in costs]
        rows.append(
            [name, min(walls), statistics.median(walls), min(cpus), statistics.median(cpus)]
        )
    print(table(rows, ["process", "s (min)", "s (median)", "CPU s (min)", "CPU s (median)"], 2))
    pairs = list(zip(ours, pipeline, strict=True))
    for what in ("wall", "cpu"):
        ratios = sorted(getattr(theirs, what) / getattr(own, what) for own, theirs in pairs)
        middle = statistics.median(ratios)
        print(f"{what}: {middle:.1f} times as fast ({ratios[0]:.1f} to {ratios[-1]:.1f})")
    print(f"on {instruction_set()}, Python {sys.version.split()[0]}, {len(pairs)} pairs")


if __name__ == "__main__":
    main()
