"""What the benchmarks share: running a script, and a table cell for several runs."""

import statistics
import subprocess
import sys
from collections.abc import Collection, Sequence


def run_script(*args: object, statuses: Collection[int] = (0,)) -> None:
    """Run `python ARGS` in a process of its own.

    Raises:
        SystemExit: if its exit status is not one of `statuses`.
    """
    command = [sys.executable, *map(str, args)]
    status = subprocess.run(command).returncode
    if status not in statuses:
        raise SystemExit(f"exit status {status}: {' '.join(command)}")


def spread(values: Sequence[float], digits: int = 4) -> str:
    """Return `mean +- standard deviation`, or the value if there is only one."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} +- {statistics.stdev(values):.{digits}f}"
