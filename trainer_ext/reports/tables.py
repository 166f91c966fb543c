"""Tables on the screen."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate


def table(rows: Sequence[Sequence], headers: Sequence[str]) -> str:
    """A plain table; floats with four decimals, numbers to the right, wide (Chinese) characters counted as two."""
    cells = [[f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
    right = ["right" if rows and isinstance(cell, (int, float)) else "left" for cell in (rows[0] if rows else ())]
    return tabulate(cells, headers=headers, tablefmt="simple", disable_numparse=True, colalign=right or None)


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Metric and value; the per-aspect and per-class scores come after the summary ones."""
    names = sorted(metrics, key=lambda name: name.count("_f1_") > 0 and not name.endswith(("f1_macro", "f1_micro")))
    return table([(name, metrics[name]) for name in names], ["metric", "value"])
