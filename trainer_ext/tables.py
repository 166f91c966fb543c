"""Tables on the screen."""

from collections.abc import Sequence

from tabulate import tabulate


def table(rows: Sequence[Sequence], headers: Sequence[str]) -> str:
    """A plain table; floats with four decimals, numbers to the right, wide (Chinese) characters counted as two."""
    cells = [[f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
    right = ["right" if rows and isinstance(cell, (int, float)) else "left" for cell in (rows[0] if rows else ())]
    return tabulate(cells, headers=headers, tablefmt="simple", disable_numparse=True, colalign=right or None)
