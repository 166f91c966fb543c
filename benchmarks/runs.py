"""What the benchmarks share: a script in a process of its own, and several runs of it as one cell of a table."""

import statistics
import subprocess
import sys
from collections.abc import Collection, Sequence


def run_script(*args: object, statuses: Collection[int] = (0,)) -> None:
    """`python ARGS`; ends this program where the exit status is none of `statuses`."""
    command = [sys.executable, *map(str, args)]
    status = subprocess.run(command).returncode
    if status not in statuses:
        raise SystemExit(f"exit status {status}: {' '.join(command)}")


def spread(values: Sequence[float], digits: int = 4) -> str:
    """`mean +- standard deviation`, or the only value."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
