"""Tables on the screen."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from trainer_ext.characters import on_screen


def table(rows: Sequence[Sequence], headers: Sequence[str], decimals: int = 4) -> str:
    """Return a plain table; floats with `decimals`, numbers to the right, wide (Chinese) characters count as two.

    Texts from data cannot steer the terminal: escape sequences, line breaks and the like are shown as codes.
    """
    cells = []
    for row in rows:
        cells.append([shown(cell, decimals) for cell in row])
    alignment = None
    if rows:
        # `tabulate` would take "1e5" or "nan" in a text for a number, so the cells' types decide instead.
        alignment = [align(cell) for cell in rows[0]]
    return tabulate(
        cells,
        headers=list(map(on_screen, headers)),
        tablefmt="simple",
        disable_numparse=True,
        colalign=alignment,
    )


def align(cell: Any) -> str:
    """Return the side of its column that a cell stands at."""
    return "right" if isinstance(cell, (int, float)) else "left"


def shown(cell: Any, decimals: int) -> Any:
    """Return a cell as the table shows it."""
    if isinstance(cell, float):
        return f"{cell:.{decimals}f}"
    if isinstance(cell, str):
        return on_screen(cell)
    return cell
