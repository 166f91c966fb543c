"""A text and the words in it that are tagged: given as tokens, or split from the text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer_ext.errors import UserError

CHINESE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# A Chinese character; or the text between two blanks, without the punctuation at its end; or such punctuation.
WORD = rf"[{CHINESE}]|[^\s{CHINESE}]+?(?=[.,!?;。，！？；]*(?:[\s{CHINESE}]|$))|\S"


@dataclass(frozen=True)
class Words:
    """A text and the positions of its words.

    Attributes:
        text: the whole text.
        spans: (start, end) offsets of the words in `text`, end exclusive.
        given: whether the words were given as tokens.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    given: bool

    @property
    def words(self) -> list[str]:
        """The words."""
        return [self.text[start:end] for start, end in self.spans]


def split_text(text: str, by_character: bool) -> Words:
    """Split a text into words: at blanks, Chinese by character, punctuation after a word on its own.

    Args:
        text: the text.
        by_character: every character that is not blank is a word, because the training rows have them so.
    """
    # Compiled by the first text that needs it, not while importing: that takes milliseconds.
    pattern = r"\S" if by_character else WORD
    spans = [match.span() for match in re.finditer(pattern, text)]
    return Words(text, tuple(spans), given=False)


def join_tokens(tokens: Sequence[str], by_character: bool) -> Words:
    """Join tokens into a text, with a blank between two of them, or none if the model reads characters."""
    separator = "" if by_character else " "
    spans = []
    position = 0
    for token in tokens:
        end = position + len(token)
        spans.append((position, end))
        position = end + len(separator)
    return Words(separator.join(tokens), tuple(spans), given=True)


def is_text(token: object) -> bool:
    """Return whether a token is a text."""
    return isinstance(token, str)


def check_tokens(tokens: object) -> list[str]:
    """Return tokens as a list of texts, or raise `UserError` that shows what was given instead."""
    # Lists come out of parquet as numpy arrays.
    if isinstance(tokens, np.ndarray):
        tokens = tokens.tolist()
    if not isinstance(tokens, (list, tuple)) or not all(map(is_text, tokens)):
        raise UserError(f"'tokens' must be a list of texts, got {tokens!r:.80}")
    for position, token in enumerate(tokens, 1):
        if not token.strip():
            raise UserError(f"'tokens': number {position} is empty: {token!r}")
    return list(tokens)
