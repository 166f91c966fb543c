"""A text and the words in it that are tagged: given as tokens, or split from the text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

CHINESE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# A Chinese character; or what stands between blanks, without the punctuation behind it; or such punctuation.
WORD = re.compile(rf"[{CHINESE}]|[^\s{CHINESE}]+?(?=[.,!?;。，！？；]*(?:[\s{CHINESE}]|$))|\S")


@dataclass(frozen=True)
class Words:
    """`spans` are the (start, end) offsets of the words in `text`, end exclusive."""

    text: str
    spans: tuple[tuple[int, int], ...]
    given: bool

    @property
    def words(self) -> list[str]:
        """The words."""
        return [self.text[start:end] for start, end in self.spans]


def split_text(text: str, by_character: bool) -> Words:
    """Each character that is no blank; or words: between blanks, Chinese by character, punctuation behind one apart."""
    found = re.finditer(r"\S", text) if by_character else WORD.finditer(text)
    return Words(text, tuple(match.span() for match in found), given=False)


def join_tokens(tokens: Sequence[str], by_character: bool) -> Words:
    """Tokens as a text: one blank between two of them, none where the model reads characters."""
    separator = "" if by_character else " "
    spans, position = [], 0
    for token in tokens:
        spans.append((position, position + len(token)))
        position += len(token) + len(separator)
    return Words(separator.join(tokens), tuple(spans), given=True)
