"""report.html: one file with everything in it, which asks nothing of the network and runs no script."""

import base64
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from trainer_ext.characters import on_screen
from trainer_ext.files import write_text
from trainer_ext.reports.row_tables import Record

LONGEST_CELL = 500  # characters of a text in the page; the csv files have all of it
MOST_ROWS = 50  # of a table
SIZE_IN_PNG = slice(16, 24)
BROAD = 1.8  # width over height

PAGE = jinja2.Environment(
    loader=jinja2.PackageLoader("trainer_ext.reports"),
    # Texts and labels are of anybody: nothing in them may become a tag.
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGE.globals["zip"] = zip


class Picture(NamedTuple):
    """A PNG in base64, what it shows in words, and whether it is too broad to be read on a phone as a whole."""

    data: str
    alt: str
    is_broad: bool


@dataclass
class Section:
    """A heading with notes, pictures and a table under it.

    Attributes:
        title: the heading.
        notes: paragraphs before the rest.
        pictures: PNGs.
        columns: names of the table's columns.
        rows: its cells as texts.
        numbers: those columns that hold numbers.
    """

    title: str
    notes: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)

    @property
    def anchor(self) -> str:
        """What the section is called in a link."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())

    def add_pictures(self, paths: Iterable[Path]) -> None:
        """Take in those pictures that were drawn."""
        for path in paths:
            if path.is_file():
                content = path.read_bytes()
                width, height = struct.unpack(">II", content[SIZE_IN_PNG])
                data = base64.b64encode(content).decode()
                alt = path.stem.replace("_", " ")
                self.pictures.append(Picture(data, alt, width > BROAD * height))

    def add_table(
        self, records: Iterable[Record], left_out: Sequence[str] = (), most: int = MOST_ROWS
    ) -> None:
        """Take in the first records as a table.

        Args:
            records: with the same keys each.
            left_out: keys that are not shown.
            most: records.
        """
        for record in islice(records, most):
            shown = {name: value for name, value in record.items() if name not in left_out}
            self.columns = list(shown)
            self.rows.append([cell_text(value) for value in shown.values()])
            self.numbers |= {name for name, value in shown.items() if is_number(value)}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing under the heading."""
        return not (self.notes or self.pictures or self.rows)


def is_number(value: Any) -> bool:
    """Return whether a cell is set as a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def cell_text(value: Any) -> str:
    """Return a value as a cell shows it: numbers short, texts on one line and not endless."""
    if isinstance(value, float):
        # One below the other: as many decimals.
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"
    text = on_screen(value)
    if len(text) > LONGEST_CELL:
        return text[: LONGEST_CELL - 1] + "…"
    return text


def write_page(
    path: Path,
    title: str,
    subtitle: str,
    verdict: str,
    behind: bool,
    sections: Sequence[Section],
) -> None:
    """Write the page.

    Args:
        path: of the file.
        title: the model's name.
        subtitle: on what it was measured.
        verdict: the first line.
        behind: whether the verdict is bad news.
        sections: in order; empty ones are left out.
    """
    filled = [section for section in sections if not section.is_empty]
    text = PAGE.get_template("report.html.jinja").render(
        title=on_screen(title),
        subtitle=on_screen(subtitle),
        verdict=on_screen(verdict),
        behind=behind,
        sections=filled,
    )
    write_text(path, text)
