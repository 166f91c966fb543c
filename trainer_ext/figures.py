"""What all pictures share: matplotlib without a display, fonts that have the characters of names, a file at the end."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font


def shown(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names as they can be drawn, and the fonts to draw them with.

    Where no installed font has the characters of a name, it is called by its place (`#3`).
    """
    fallback = font_for("".join(names))
    return [drawable(name, fallback, f"#{k}") for k, name in enumerate(names, 1)], families(fallback)


def drawable(text: str, fallback: str | None, otherwise: str) -> str:
    """The text where the fonts in use have all its characters, else `otherwise`."""
    return text if not missing_glyphs(text) or (fallback and not missing_glyphs(text, fallback)) else otherwise


def families(fallback: str | None) -> list[str]:
    """matplotlib's own font, and behind it the one that has the other characters."""
    return [*plt.rcParams["font.family"], *([fallback_name(fallback)] if fallback else [])]


def font_for(text: str) -> str | None:
    """File of an installed font that has every character which matplotlib's own lacks; None: none is needed, or had."""
    lacking = missing_glyphs(text)
    if not lacking:
        return None
    return next((font for font in installed() if not missing_glyphs(lacking, font)), None)


@lru_cache
def installed() -> tuple[str, ...]:
    """Files of the installed fonts, upright sans-serif ones first; not the one that has a box for every character."""
    fonts = (font for font in font_manager.fontManager.ttflist if "Last Resort" not in font.name)
    fonts = sorted(fonts, key=lambda f: ("Sans" not in f.name, f.style != "normal", f.name))
    return tuple(dict.fromkeys(font.fname for font in fonts))


def fallback_name(path: str) -> str:
    """The family of a font file."""
    return font_manager.FontProperties(fname=path).get_name()


def missing_glyphs(text: str, font: str | None = None) -> str:
    """The characters of a text that a font file (matplotlib's own by default) has no picture of."""
    face = open_font(font or font_manager.findfont(font_manager.FontProperties()))
    return "".join(
        c for c in dict.fromkeys(text) if not c.isspace() and (face is None or not face.get_char_index(ord(c)))
    )


@lru_cache(maxsize=256)
def open_font(path: str) -> FT2Font | None:
    """An open font file; None for one that cannot be read."""
    try:
        return FT2Font(path)
    except (OSError, RuntimeError):
        return None


def save(figure, path: Path) -> None:
    """Write a figure and free it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
