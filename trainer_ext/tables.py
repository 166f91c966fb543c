"""Tables on the screen."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from trainer_ext.characters import on_screen


def table(rows: Sequence[Sequence], headers: Sequence[str]) -> str:
    """A plain table; floats with four decimals, numbers to the right, wide (Chinese) characters counted as two.

    Texts from data steer no terminal: escape sequences, line breaks and the like are shown as codes.
    """
    cells = [[shown(cell) for cell in row] for row in rows]
    headers = [on_screen(header) for header in headers]
    right = [
        "right" if rows and isinstance(cell, (int, float)) else "left"
        for cell in (rows[0] if rows else ())
    ]
    return tabulate(
        cells, headers=headers, tablefmt="simple", disable_numparse=True, colalign=right or None
    )


def shown(cell: Any) -> Any:
    """A cell as the table shows it."""
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return on_screen(cell) if isinstance(cell, str) else cell
