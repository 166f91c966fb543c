"""Clean texts in named steps, the same in training and in prediction. Each step is a function text -> text."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trainer_ext.errors import UserError
from trainer_ext.tasks.words import CHINESE

# The full-width forms of "!" to "~" stand in the order of ASCII; the ideographic space has a place of its own.
HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
HALF_WIDTH[0x3000] = 0x20
# C0 and C1 controls except whitespace; soft hyphen, zero-width, directions, tags (categories Cc, Cf).
CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]"
)
REPEATED = re.compile(r"([^\d])\1{3,}", re.DOTALL)
TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)(?:[\s/][^<>]*)?>|<[!?][^<>]*>")
# Tags that stand inside a word or sentence; every other one parts words, so whitespace takes its place.
INLINE = (
    "a abbr b big cite code em font i ins kbd label mark q s small span strong sub sup tt u var"
)
INLINE_NAMES = frozenset(INLINE.split())
# Letters and digits with the apostrophes and hyphens inside them, but not Chinese, which has no spaces between words.
# Compiled by the first text that needs them, not while importing: that takes milliseconds.
WHOLE_WORD = rf"[^\W{CHINESE}]+(?:['’-][^\W{CHINESE}]+)*"
WORD = rf"(?s:{WHOLE_WORD}|.)"


def nfkc(text: str) -> str:
    """Return Unicode normal form KC: ligatures, circled and full-width characters as plain ones."""
    return unicodedata.normalize("NFKC", text)


def halfwidth(text: str) -> str:
    """Return full-width ASCII and the ideographic space as ASCII; each character stays one."""
    return text.translate(HALF_WIDTH)


def html(text: str) -> str:
    """Remove tags, comments, scripts and styles, and decode entities; a `<` that opens no tag stays."""
    # Not by `html.parser`: what that does with a `<` that is never closed differs between patch releases of Python,
    # and a model must read tomorrow what it was trained on.
    text = drop_between(text, r"<!--", r"-->")
    for name in ("script", "style"):
        text = drop_between(text, rf"<{name}(?:\s[^<>]*)?>", f"</{name}>")
    text = TAG.sub(tag_replacement, text)
    from html import unescape  # a table of all entities, for this step only

    return unescape(text).strip()


def tag_replacement(tag: re.Match) -> str:
    """Return what takes the place of a tag: nothing for one that stands inside words, else a space."""
    name = tag[1] or ""  # comments and declarations have none
    return "" if name.lower() in INLINE_NAMES else " "


def drop_between(text: str, opening: str, closing: str) -> str:
    """Remove what stands from each `opening` (a pattern, in any case) to the next `closing`; a space is left."""
    start = re.compile(opening, re.IGNORECASE)
    end = re.compile(closing, re.IGNORECASE)
    kept: list[str] = []
    position = 0
    first = start.search(text)
    while first:
        last = end.search(text, first.end())
        if not last:  # an opening that is never closed stays
            break
        kept += [text[position : first.start()], " "]
        position = last.end()
        first = start.search(text, position)
    return "".join(kept) + text[position:]


def control(text: str) -> str:
    """Remove control and zero-width characters; line breaks and tabs stay."""
    return CONTROL.sub("", text)


def repeated(text: str) -> str:
    """Shorten a character more than three times in a row to three; digits stay, for 10000 is a number."""
    return REPEATED.sub(r"\1\1\1", text)


def remove_stopwords(text: str, stopwords: tuple[str, ...]) -> str:
    """Remove stop words and the whitespace after them.

    A stop word of letters must be a whole word, in any case; one with Chinese or punctuation in it goes wherever it
    stands (the longest first), for nothing says where a Chinese word begins.
    """
    whole, anywhere = by_kind(stopwords)
    kept = []
    position = 0
    while position < len(text):
        candidates = anywhere.get(text[position], ())
        found = [word for word in candidates if text.startswith(word, position)]
        piece = found[0] if found else word_at(text, position)
        position += len(piece)
        if found or piece.casefold() in whole:
            while text[position : position + 1] in (" ", "\t"):
                position += 1
        else:
            kept.append(piece)
    return "".join(kept).strip()


def word_at(text: str, position: int) -> str:
    """Return the word, or the single character, that begins at a position."""
    found = re.compile(WORD).match(text, position)
    assert found is not None  # the pattern takes any character
    return found[0]


@lru_cache(maxsize=8)
def by_kind(stopwords: tuple[str, ...]) -> tuple[set[str], dict[str, list[str]]]:
    """Return the whole words, casefolded, and the others by their first character, the longest first."""
    whole = set()
    anywhere: dict[str, list[str]] = {}
    # The longest first, so that a word is not cut by a stop word that it begins with.
    for word in sorted(set(stopwords), key=len, reverse=True):
        if re.fullmatch(WHOLE_WORD, word):
            whole.add(word.casefold())
        else:
            anywhere.setdefault(word[0], []).append(word)
    return whole, anywhere


STEPS: dict[str, Callable[[str], str]] = {
    "nfkc": nfkc,
    "halfwidth": halfwidth,
    "html": html,
    "control": control,
    "repeated": repeated,
}


@dataclass(frozen=True)
class Cleaning:
    """Steps in their order, and the words that the step `stopwords` removes."""

    steps: tuple[str, ...] = ()
    stopwords: tuple[str, ...] = ()

    def __call__(self, text: str) -> str:
        """Return the text as the model reads it; it may be empty."""
        for step in self.steps:
            text = self.apply(step, text)
        return text

    def apply(self, step: str, text: str) -> str:
        """Return the text after one step."""
        if step == "stopwords":
            return remove_stopwords(text, self.stopwords)
        return STEPS[step](text)

    def by_word(self, words: Sequence[str]) -> list[str]:
        """Clean each word by itself, so that tags and offsets stay right; one that would be empty stays as it is."""
        if not self.steps:
            return list(words)
        cleaned = []
        for word in words:
            text = self(word)
            cleaned.append(text if text.strip() else word)
        return cleaned

    def to_dict(self) -> dict[str, list[str]]:
        """Return what a checkpoint's config stores."""
        return {"steps": list(self.steps), "stopwords": list(self.stopwords)}

    @classmethod
    def from_dict(cls, stored: dict[str, list[str]] | None) -> "Cleaning":
        """Return the inverse of `to_dict`; no cleaning for None.

        Raises:
            KeyError, TypeError: for what `to_dict` does not write.
        """
        fields = {key: tuple(items) for key, items in (stored or {}).items()}
        cleaning = cls(**fields)
        unknown = set(cleaning.steps) - {*STEPS, "stopwords"}
        if unknown:
            raise KeyError(*unknown)
        return cleaning

    @classmethod
    def from_flags(cls, clean: Sequence[str] | None, stopwords_file: str | None) -> "Cleaning":
        """Return the cleaning of `--clean` and `--stopwords_file`, whose content travels with the model."""
        steps = tuple(clean or ())
        if not stopwords_file:
            return cls(steps)
        return cls(steps, read_stopwords(stopwords_file))


def read_stopwords(path: str) -> tuple[str, ...]:
    """Return the words of a UTF-8 file with one a line, each once, in order.

    Raises:
        UserError: if it cannot be read, or holds none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"stopwords_file: {path} is not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise UserError(f"stopwords_file: {path} cannot be read: {error.strerror}") from error
    stripped = map(str.strip, lines)
    words = tuple(dict.fromkeys(word for word in stripped if word))
    if not words:
        raise UserError(f"stopwords_file: {path} is empty; expected one word a line")
    return words
