"""What all pictures share: matplotlib without a display, names that can be drawn, a file at the end.

A picture is never worth a run: what is drawn is bounded, and one that fails is a warning.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, wraps
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from trainer_ext.errors import message_of
from trainer_ext.files import atomic_path

LONGEST = 32  # characters of a name in a picture
TEXT_IS_TEXT = {
    "text.parse_math": False,
    "text.usetex": False,
}  # two "$" in a class name are no formula


def picture(draw: Callable[..., None]) -> Callable[..., None]:
    """Decorate a function that draws one picture into the file that is its last argument: its failure is a warning."""

    @wraps(draw)
    def drawn_or_warned(*args):
        opened = set(plt.get_fignums())
        try:
            with matplotlib.rc_context(TEXT_IS_TEXT):
                draw(*args)
        except Exception as error:  # matplotlib raises many types
            print(
                f"warning: no picture {args[-1]}: {type(error).__name__}: {message_of(error)}",
                file=sys.stderr,
            )
        finally:
            for number in set(plt.get_fignums()) - opened:
                plt.close(number)

    return drawn_or_warned


def shown(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names as they can be drawn, and the fonts to draw them with.

    Where no installed font has the characters of a name, it is called by its place (`#3`), which also tells apart names
    that are the same when shortened.
    """
    fallback = font_for("".join(names))
    drawn = [drawable(name, fallback, f"#{k}") for k, name in enumerate(names, 1)]
    count = Counter(drawn)
    drawn = [f"{name} #{k}" if count[name] > 1 else name for k, name in enumerate(drawn, 1)]
    return drawn, families(fallback)


def drawable(text: str, fallback: str | None, otherwise: str) -> str:
    """The text in one short line where the fonts in use have all its characters, else `otherwise`."""
    text = short(text)
    lacking = missing_glyphs(text)
    return otherwise if lacking and (not fallback or missing_glyphs(lacking, fallback)) else text


def short(text: str) -> str:
    """A name in one line of at most `LONGEST` characters: its beginning and its end."""
    words = " ".join(text.split()) or "(empty)"
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 12]}…{words[-11:]}"


def numbers(values: Iterable[float]) -> np.ndarray:
    """Values to draw as floats: what is not finite becomes NaN, which leaves a gap."""
    values = np.asarray(list(values), dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def families(fallback: str | None) -> list[str]:
    """matplotlib's own font, and behind it the one that has the other characters."""
    return [*plt.rcParams["font.family"], *([fallback_name(fallback)] if fallback else [])]


def font_for(text: str) -> str | None:
    """File of the installed font that has most of the characters which matplotlib's own lacks; None: none is needed."""
    lacking = missing_glyphs(text)
    if not lacking:
        return None
    best = min(installed(), key=lambda font: len(missing_glyphs(lacking, font)), default=None)
    return best if best and len(missing_glyphs(lacking, best)) < len(lacking) else None


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
        c
        for c in dict.fromkeys(text)
        if not c.isspace() and (face is None or not face.get_char_index(ord(c)))
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
    with atomic_path(path) as beside:
        figure.savefig(beside, dpi=120, bbox_inches="tight", format="png")
    plt.close(figure)
