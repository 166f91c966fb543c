"""Split a text into words that may be edited and the gaps between them; and the four edits.

In a text every word is free and the gaps hold blanks, punctuation, numbers and units (see `units.py`). In a row of
tokens and tags a whole slot is one word that is not free, so no edit can cut it or put anything inside.
"""

import logging
import re
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache

from trainer_ext.data.augment.units import parts
from trainer_ext.errors import UserError
from trainer_ext.tasks.words import CHINESE

IS_CHINESE = re.compile(f"[{CHINESE}]")
ENGLISH_WORD = re.compile(r"\w+(?:['’-]\w+)*")
NO_DIGIT_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclass(frozen=True)
class Word:
    """One unit. A row of tokens keeps the tokens and tags it was read from; a new word has none."""

    text: str
    free: bool = True
    tokens: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sentence:
    """`words`, and `gaps`, one more than words: what stands before, between and after them."""

    words: tuple[Word, ...]
    gaps: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text."""
        # One gap more than words, so the first is on its own.
        parts = [self.gaps[0]]
        for word, gap in zip(self.words, self.gaps[1:], strict=True):
            parts += [word.text, gap]
        return "".join(parts)

    @property
    def free(self) -> list[int]:
        """Positions of the words that may be edited."""
        return [position for position, word in enumerate(self.words) if word.free]


class Splitter:
    """Split texts into Chinese words by jieba, others by blanks and punctuation; numbers and units are not words."""

    def __init__(self, language: str):
        self.cut = chinese_cutter() if language == "zh" else None

    def __call__(self, text: str) -> Sentence:
        """Return the sentence whose `text` is `text`."""
        words: list[Word] = []
        gaps = [""]
        for piece in self.pieces(text):
            if NO_DIGIT_WORD.fullmatch(piece):
                words.append(Word(piece))
                gaps.append("")
            else:
                gaps[-1] += piece
        return Sentence(tuple(words), tuple(gaps))

    def pieces(self, text: str) -> list[str]:
        """Return words, units and what stands between them, in order."""
        cut = self.cut or english_pieces
        pieces: list[str] = []
        for part, is_unit in parts(text):
            if is_unit:
                pieces.append(part)
            else:
                pieces += cut(part)
        return pieces


def english_pieces(text: str) -> list[str]:
    """Return words and what stands between them, in order."""
    pieces = []
    position = 0
    for match in ENGLISH_WORD.finditer(text):
        pieces += [text[position : match.start()], match[0]]
        position = match.end()
    return [*pieces, text[position:]]


@cache
def chinese_cutter() -> Callable[[str], list[str]]:
    """Return jieba's `lcut`, loaded once.

    Raises:
        UserError: if jieba is not installed.
    """
    try:
        import jieba
    except ImportError:
        raise UserError("--language zh needs jieba: pip install -e .[augment]") from None
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    # By itself jieba keeps its dictionary in /tmp, where every user may write it, and loads it from there.
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    return tokenizer.lcut


def replace_words(sentence: Sentence, new: Mapping[int, str]) -> Sentence:
    """Give the words at some positions other texts."""
    words = list(sentence.words)
    for position, text in new.items():
        words[position] = Word(text)
    return replace(sentence, words=tuple(words))


def can_insert(sentence: Sentence, position: int) -> bool:
    """Return whether a word can be put before word `position` (after the last: `len(words)`).

    Not where two words are tied by a hyphen, a slash or the like.
    """
    if position in (0, len(sentence.words)):
        return True
    gap = sentence.gaps[position]
    if not gap:
        return True
    # Chinese punctuation has no blank beside it, and ties nothing.
    return any(character.isspace() or not character.isascii() for character in gap)


def insert_word(sentence: Sentence, position: int, text: str) -> Sentence:
    """Put a new word before word `position`: right after the word in front of it, if there is one."""
    words = list(sentence.words)
    gaps = list(sentence.gaps)
    before = gaps[0]
    after = ""
    if position:
        before = glue(words[position - 1].text, text)
        after = gaps[position]
    if not after and position < len(words):
        after = glue(text, words[position].text)
    elif after[:1].isalnum():  # a number or an address, which the word would become a part of
        after = glue(text, after) + after
    words.insert(position, Word(text))
    gaps[position : position + 1] = [before, after]
    return Sentence(tuple(words), tuple(gaps))


def glue(left: str, right: str) -> str:
    """Return what stands between two words: a blank, or nothing next to a Chinese character."""
    # A pattern, because either may be empty.
    touches_chinese = IS_CHINESE.match(left[-1:]) or IS_CHINESE.match(right[:1])
    return "" if touches_chinese else " "


def swap_words(sentence: Sentence, first: int, second: int) -> Sentence:
    """Swap two words; the gaps stay."""
    words = list(sentence.words)
    words[first] = sentence.words[second]
    words[second] = sentence.words[first]
    return replace(sentence, words=tuple(words))


def can_delete(sentence: Sentence, position: int) -> bool:
    """Return whether the gaps around a word can become one: not if it is alone in brackets, quotes or numbers."""
    before = sentence.gaps[position]
    after = sentence.gaps[position + 1]
    if not before.strip() or not after.strip():
        return True
    # Of two gaps that are alike one goes; a number in it would be lost.
    has_number = any(character.isalnum() for character in before)
    return before == after and not has_number


def delete_words(sentence: Sentence, positions: Collection[int]) -> Sentence:
    """Remove the words at `positions`, but for those that cannot be removed by then (see `can_delete`)."""
    # From the end, so that the positions of the others stay what they were.
    for position in sorted(positions, reverse=True):
        if can_delete(sentence, position):
            words = list(sentence.words)
            gaps = list(sentence.gaps)
            del words[position]
            gaps[position : position + 2] = [joined_gap(sentence, position)]
            sentence = Sentence(tuple(words), tuple(gaps))
    return sentence


def joined_gap(sentence: Sentence, position: int) -> str:
    """Return which of the two gaps around a word stays without it: the one with more than blanks."""
    before = sentence.gaps[position]
    after = sentence.gaps[position + 1]
    if after.strip():
        return after
    # No blank is left over at the end of the text.
    is_last = 0 < position == len(sentence.words) - 1
    if is_last and not before.strip():
        return after
    return before
