"""Cleaning of texts in named steps, the same in training and in prediction. Each step is a function text -> text."""

import html as entities
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trainer_ext.errors import UserError
from trainer_ext.tasks.words import CHINESE

HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
# C0 and C1 controls but those that are blanks; soft hyphen, zero-width, directions, tags (categories Cc, Cf).
CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]"
)
REPEATED = re.compile(r"([^\d])\1{3,}", re.DOTALL)
TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)(?:[\s/][^<>]*)?>|<[!?][^<>]*>")
INLINE = {
    "a",
    "abbr",
    "b",
    "big",
    "cite",
    "code",
    "em",
    "font",
    "i",
    "ins",
    "kbd",
    "label",
    "mark",
    "q",
    "s",
    "small",
}
INLINE |= {"span", "strong", "sub", "sup", "tt", "u", "var"}  # every other tag parts words
# Letters and digits with the apostrophes and hyphens inside them, but not Chinese, which has no blanks between words.
WHOLE_WORD = re.compile(rf"[^\W{CHINESE}]+(?:['’-][^\W{CHINESE}]+)*")
WORD = re.compile(rf"{WHOLE_WORD.pattern}|.", re.DOTALL)
BLANKS = re.compile(r"[ \t]*")


def nfkc(text: str) -> str:
    """Unicode normal form KC: ligatures, circled and full-width characters as plain ones."""
    return unicodedata.normalize("NFKC", text)


def halfwidth(text: str) -> str:
    """Full-width ASCII and the ideographic blank as ASCII; each character stays one."""
    return text.translate(HALF_WIDTH)


def html(text: str) -> str:
    """Tags, comments, scripts and styles out, entities as characters; `<` that opens no tag stays.

    Not by `html.parser`: what that does with a `<` that is never closed differs between patch releases of Python, and a
    model must read tomorrow what it was trained on.
    """
    text = drop_between(text, r"<!--", r"-->")
    for name in ("script", "style"):
        text = drop_between(text, rf"<{name}(?:\s[^<>]*)?>", f"</{name}>")
    text = TAG.sub(lambda tag: "" if (tag[1] or "").lower() in INLINE else " ", text)
    return entities.unescape(text).strip()


def drop_between(text: str, opening: str, closing: str) -> str:
    """`text` without what stands from each `opening` (a pattern, in any case) to the next `closing`."""
    start, end = re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE)
    kept, position = [], 0
    while (first := start.search(text, position)) and (last := end.search(text, first.end())):
        kept += [text[position : first.start()], " "]
        position = last.end()
    return "".join(kept) + text[position:]


def control(text: str) -> str:
    """Control and zero-width characters out; line breaks and tabs stay."""
    return CONTROL.sub("", text)


def repeated(text: str) -> str:
    """A character more than three times in a row as three; digits stay, for 10000 is a number."""
    return REPEATED.sub(r"\1\1\1", text)


def remove_stopwords(text: str, stopwords: tuple[str, ...]) -> str:
    """Stop words out, each with the blanks behind it.

    A stop word of letters must be a whole word, in any case; one with Chinese or punctuation in it goes wherever it
    stands (the longest first), for nothing says where a Chinese word begins.
    """
    whole, anywhere = by_kind(stopwords)
    kept, position = [], 0
    while position < len(text):
        found = next(
            (word for word in anywhere.get(text[position], ()) if text.startswith(word, position)),
            None,
        )
        piece = found or WORD.match(text, position)[0]
        position += len(piece)
        if found or piece.casefold() in whole:
            position = BLANKS.match(text, position).end()
        else:
            kept.append(piece)
    return "".join(kept).strip()


@lru_cache(maxsize=8)
def by_kind(stopwords: tuple[str, ...]) -> tuple[set[str], dict[str, list[str]]]:
    """Whole words, casefolded; and by their first character those that go anywhere, the longest first."""
    whole = {word.casefold() for word in stopwords if WHOLE_WORD.fullmatch(word)}
    anywhere: dict[str, list[str]] = {}
    for word in sorted(set(stopwords), key=len, reverse=True):
        if word.casefold() not in whole:
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
        """The text as the model reads it; it may be empty."""
        for step in self.steps:
            text = (
                remove_stopwords(text, self.stopwords) if step == "stopwords" else STEPS[step](text)
            )
        return text

    def by_word(self, words: Sequence[str]) -> list[str]:
        """Each word by itself, so that tags and offsets stay right; one that nothing is left of stays whole."""
        if not self.steps:
            return list(words)
        return [cleaned if (cleaned := self(word)).strip() else word for word in words]

    def to_dict(self) -> dict[str, list[str]]:
        """As stored in a checkpoint's config."""
        return {"steps": list(self.steps), "stopwords": list(self.stopwords)}

    @classmethod
    def from_dict(cls, stored: dict[str, list[str]] | None) -> "Cleaning":
        """The inverse of `to_dict`; of None, no cleaning.

        Raises:
            KeyError, TypeError: for what `to_dict` does not write.
        """
        cleaning = cls(**{key: tuple(items) for key, items in (stored or {}).items()})
        unknown = set(cleaning.steps) - {*STEPS, "stopwords"}
        if unknown:
            raise KeyError(*unknown)
        return cleaning

    @classmethod
    def from_flags(cls, clean: Sequence[str] | None, stopwords_file: str | None) -> "Cleaning":
        """From `--clean` and `--stopwords_file`, which is read here: its content travels with the model."""
        return cls(tuple(clean or ()), read_stopwords(stopwords_file) if stopwords_file else ())


def read_stopwords(path: str) -> tuple[str, ...]:
    """The words of a UTF-8 file with one a line, each once, in order.

    Raises:
        UserError: when it cannot be read, or holds none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"stopwords_file: {path} is not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise UserError(f"stopwords_file: {path} cannot be read: {error.strerror}") from error
    words = tuple(dict.fromkeys(word for word in map(str.strip, lines) if word))
    if not words:
        raise UserError(f"stopwords_file: {path} is empty; expected one word a line")
    return words
