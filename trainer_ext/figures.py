"""Draw pictures: matplotlib without a display, names that can be drawn, a file at the end.

A picture is never worth a run: what is drawn is bounded, and one that fails is a warning.
"""

import logging
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

logger = logging.getLogger(__name__)

LONGEST = 32  # characters of a name in a picture
ENDING = 11  # characters of a longer name's end
# Two "$" in a class name are not a formula.
PLAIN_TEXT = {"text.parse_math": False, "text.usetex": False}


def picture(draw: Callable[..., None]) -> Callable[..., None]:
    """Decorate a function that draws one picture into the file that is its last argument: its failure is a warning."""

    @wraps(draw)
    def drawn_or_warned(*args):
        opened = set(plt.get_fignums())
        try:
            with matplotlib.rc_context(PLAIN_TEXT):
                draw(*args)
        except Exception as error:  # matplotlib raises many types
            kind = type(error).__name__
            logger.warning("no picture %s: %s: %s", args[-1], kind, message_of(error))
        finally:
            for number in set(plt.get_fignums()) - opened:
                plt.close(number)

    return drawn_or_warned


def shown(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return names as they can be drawn, and the fonts to draw them with.

    If no installed font has the characters of a name, it is called by its place (`#3`), which also tells apart names
    that are the same when shortened.
    """
    fallback = font_for("".join(names))
    drawn = []
    for place, name in enumerate(names, 1):
        drawn.append(drawable(name, fallback, f"#{place}"))
    count = Counter(drawn)
    for place, name in enumerate(drawn, 1):
        if count[name] > 1:
            drawn[place - 1] = f"{name} #{place}"
    return drawn, families(fallback)


def drawable(text: str, fallback: str | None, otherwise: str) -> str:
    """Return the text in one short line if the fonts in use have all its characters, else `otherwise`."""
    text = short(text)
    lacking = missing_glyphs(text)
    if lacking and fallback:
        lacking = missing_glyphs(lacking, fallback)
    return otherwise if lacking else text


def short(text: str) -> str:
    """Return a name in one line of at most `LONGEST` characters: its beginning and its end."""
    line = " ".join(text.split()) or "(empty)"
    if len(line) <= LONGEST:
        return line
    beginning = LONGEST - ENDING - 1
    return f"{line[:beginning]}…{line[-ENDING:]}"


def numbers(values: Iterable[float]) -> np.ndarray:
    """Return values to draw as floats: what is not finite becomes NaN, which leaves a gap."""
    floats = np.asarray(list(values), dtype=float)
    return np.where(np.isfinite(floats), floats, np.nan)


def families(fallback: str | None) -> list[str]:
    """Return matplotlib's own font, and after it the one that has the other characters."""
    own = list(plt.rcParams["font.family"])
    if fallback is None:
        return own
    return [*own, fallback_name(fallback)]


def font_for(text: str) -> str | None:
    """Return the file of the installed font that has most of the characters which matplotlib's own font lacks.

    None if no fallback is needed, or no installed font has any of them.
    """
    lacking = missing_glyphs(text)
    if not lacking:
        return None
    best = None
    fewest = len(lacking)
    for font in installed():
        count = len(missing_glyphs(lacking, font))
        if count < fewest:
            best, fewest = font, count
    return best


@lru_cache
def installed() -> tuple[str, ...]:
    """Return the files of the installed fonts, upright sans-serif ones first."""
    # "Last Resort" has a box for every character there is.
    fonts = [font for font in font_manager.fontManager.ttflist if "Last Resort" not in font.name]
    fonts.sort(key=lambda font: ("Sans" not in font.name, font.style != "normal", font.name))
    return tuple(dict.fromkeys(font.fname for font in fonts))


def fallback_name(path: str) -> str:
    """Return the family of a font file."""
    return font_manager.FontProperties(fname=path).get_name()


def missing_glyphs(text: str, font: str | None = None) -> str:
    """Return the characters of a text for which a font file (matplotlib's own by default) has no glyph, each once."""
    face = open_font(font or font_manager.findfont(font_manager.FontProperties()))
    missing = []
    for character in dict.fromkeys(text):
        if character.isspace():
            continue
        if face is None or not face.get_char_index(ord(character)):
            missing.append(character)
    return "".join(missing)


@lru_cache(maxsize=256)
def open_font(path: str) -> FT2Font | None:
    """Open a font file; return None for one that cannot be read."""
    try:
        return FT2Font(path)
    except (OSError, RuntimeError):
        return None


def save(figure, path: Path) -> None:
    """Write a figure and free it."""
    with atomic_path(path) as beside:
        figure.savefig(beside, dpi=120, bbox_inches="tight", format="png")
    plt.close(figure)
