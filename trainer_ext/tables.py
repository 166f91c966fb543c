"""Tables on the screen, as `tabulate` draws its "simple" ones.

Not by `tabulate` itself: importing it takes a tenth of the time in which `predict.py --text` answers.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

from trainer_ext.characters import on_screen

GAP = "  "  # between two columns
# Wider than its header, so that headers never touch.
BESIDE_HEADER = 2
NO_WIDTH = ("Mn", "Me", "Cf")  # categories of accents, and of marks that are not seen


def table(rows: Sequence[Sequence], headers: Sequence[str], decimals: int = 4) -> str:
    """Return a plain table; floats with `decimals`, numbers to the right, wide (Chinese) characters count as two.

    Texts from data cannot steer the terminal: escape sequences, line breaks and the like are shown as codes.
    """
    cells = []
    for row in rows:
        texts = [shown(cell, decimals) for cell in row]
        cells.append(texts)
    names = list(map(on_screen, headers))
    widths = [display_width(name) + BESIDE_HEADER for name in names]
    to_the_right = [False] * len(names)
    if rows:
        # Not what a text looks like: "1e5" and "nan" are no numbers there.
        to_the_right = [isinstance(cell, (int, float)) for cell in rows[0]]
    for row in cells:
        for column, cell in enumerate(row):
            widths[column] = max(widths[column], display_width(cell))
    rule = ["-" * width for width in widths]
    lines = []
    for line in (names, rule, *cells):
        lines.append(joined(line, widths, to_the_right))
    return "\n".join(lines)


def joined(cells: Sequence[str], widths: Sequence[int], to_the_right: Sequence[bool]) -> str:
    """Return one line of a table, without blanks at its end."""
    padded = []
    for cell, width, right in zip(cells, widths, to_the_right, strict=True):
        missing = width - display_width(cell)
        blanks = " " * missing
        padded.append(blanks + cell if right else cell + blanks)
    line = GAP.join(padded)
    return line.rstrip()


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    width = 0
    for character in text:
        if unicodedata.category(character) in NO_WIDTH:
            continue
        is_wide = unicodedata.east_asian_width(character) in ("W", "F")
        width += 2 if is_wide else 1
    return width


def shown(cell: Any, decimals: int) -> str:
    """Return a cell as the table shows it."""
    if isinstance(cell, float):
        return f"{cell:.{decimals}f}"
    if cell is None:
        return ""
    return on_screen(cell).strip()


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [markdown_line(headers), markdown_line(["---"] * len(headers))]
    for row in rows:
        lines.append(markdown_line(row))
    return lines


def markdown_line(cells: Sequence[str]) -> str:
    """Return one line; a bar inside a cell would end it."""
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
