"""A text as words that may be edited and what stands between them; and the four edits.

In a text every word is free and the gaps hold blanks, punctuation, numbers and units (see `units.py`). In a row of
tokens and tags a whole slot is one word that is not free, so no edit can cut it or put anything inside.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache

from trainer_ext.data.augment.units import parts
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
        return self.gaps[0] + "".join(
            word.text + gap for word, gap in zip(self.words, self.gaps[1:], strict=True)
        )

    @property
    def free(self) -> list[int]:
        """Positions of the words that may be edited."""
        return [position for position, word in enumerate(self.words) if word.free]


class Splitter:
    """Texts to sentences: Chinese words by jieba, others by blanks and punctuation; numbers and units are no words."""

    def __init__(self, language: str):
        self.cut = chinese_cutter() if language == "zh" else None

    def __call__(self, text: str) -> Sentence:
        """The sentence whose `text` is `text`."""
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
        """Words, units and what stands between them, in order."""
        cut = self.cut or english_pieces
        pieces: list[str] = []
        for part, is_unit in parts(text):
            pieces += [part] if is_unit else cut(part)
        return pieces


def english_pieces(text: str) -> list[str]:
    """Words and what stands between them, in order."""
    pieces, position = [], 0
    for match in ENGLISH_WORD.finditer(text):
        pieces += [text[position : match.start()], match[0]]
        position = match.end()
    return [*pieces, text[position:]]


@cache
def chinese_cutter():
    """jieba's `lcut`, loaded once; its dictionary is not cached in the folder that all users share, as jieba would.

    Raises:
        UserError: when jieba is not installed.
    """
    import logging
    import tempfile

    from trainer_ext.errors import UserError

    try:
        import jieba
    except ImportError:
        raise UserError("--language zh needs jieba: pip install -e .[augment]") from None
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    return tokenizer.lcut


def replace_words(sentence: Sentence, new: Mapping[int, str]) -> Sentence:
    """Other texts for the words at some positions."""
    words = tuple(Word(new[k]) if k in new else word for k, word in enumerate(sentence.words))
    return replace(sentence, words=words)


def can_insert(sentence: Sentence, position: int) -> bool:
    """Whether a word can be put before word `position` (behind the last: `len(words)`).

    Not where two words are tied by a hyphen, a slash or the like.
    """
    gap = sentence.gaps[position]
    at_an_end = position in (0, len(sentence.words))
    return at_an_end or not gap or any(c.isspace() or not c.isascii() for c in gap)


def insert_word(sentence: Sentence, position: int, text: str) -> Sentence:
    """A new word before word `position`: right behind the word before it, where there is one."""
    words, gaps = sentence.words, sentence.gaps
    before = glue(words[position - 1].text, text) if position else gaps[0]
    after = gaps[position] if position else ""
    if not after and position < len(words):
        after = glue(text, words[position].text)
    elif after[:1].isalnum():  # a number or an address right behind the word
        after = glue(text, after) + after
    words = (*words[:position], Word(text), *words[position:])
    return Sentence(words, (*gaps[:position], before, after, *gaps[position + 1 :]))


def glue(left: str, right: str) -> str:
    """A blank, or nothing next to a Chinese character."""
    return "" if IS_CHINESE.match(left[-1:]) or IS_CHINESE.match(right[:1]) else " "


def swap_words(sentence: Sentence, first: int, second: int) -> Sentence:
    """Two words change places; the gaps stay."""
    words = list(sentence.words)
    words[first], words[second] = words[second], words[first]
    return replace(sentence, words=tuple(words))


def can_delete(sentence: Sentence, position: int) -> bool:
    """Whether the gaps around a word can become one: not what stands alone in brackets, quotes or numbers."""
    before, after = sentence.gaps[position], sentence.gaps[position + 1]
    alike = before == after and not any(
        character.isalnum() for character in before
    )  # else a number would be lost
    return not before.strip() or not after.strip() or alike


def delete_words(sentence: Sentence, positions: Collection[int]) -> Sentence:
    """Without the words at `positions`; of the two gaps around one the one with more than blanks stays.

    Words that cannot be taken out by then (see `can_delete`) stay.
    """
    for position in sorted(positions, reverse=True):
        if can_delete(sentence, position):
            before, after = sentence.gaps[position], sentence.gaps[position + 1]
            at_start, at_end = position == 0, position == len(sentence.words) - 1
            gap = before if after == before or not after.strip() else after
            if (at_start or at_end) and not before.strip() and not after.strip():
                gap = before if at_start else after  # no blank is left over at the ends
            words = sentence.words[:position] + sentence.words[position + 1 :]
            sentence = Sentence(
                words, (*sentence.gaps[:position], gap, *sentence.gaps[position + 2 :])
            )
    return sentence
