"""Rows to sentences and back: a text column, or tokens and slots whose spans stay whole."""

from typing import Any

from trainer_ext.data.augment.sentence import (
    IS_CHINESE,
    NO_DIGIT_WORD,
    Sentence,
    Splitter,
    Word,
    glue,
)
from trainer_ext.data.augment.units import units
from trainer_ext.data.io.readers import Row, text_of
from trainer_ext.data.joint import tokens_and_tags
from trainer_ext.tasks.entities import OUTSIDE, entities


class TextRows:
    """Rows with a text; every other column is copied."""

    def __init__(self, splitter: Splitter, text_column: str):
        self.splitter, self.text_column = splitter, text_column

    def text(self, row: Row) -> str:
        """What tells two rows apart.

        Raises:
            UserError: when the text is missing or empty, with file and row.
        """
        return text_of(row, self.text_column)

    def sentence(self, row: Row) -> Sentence:
        """The row's words."""
        return self.splitter(self.text(row))

    def values(self, row: Row, sentence: Sentence) -> dict[str, Any] | None:
        """The row with the text of `sentence`; None when nothing is left of it, or an address in it would change."""
        text = sentence.text.strip()
        if not text or units(text) != units(self.text(row)):
            return None
        return {**row.values, self.text_column: text}


class JointRows:
    """Rows with `tokens`, `slots` and an intent; where there is a `text` too it becomes the tokens' text.

    Tokens that are Chinese characters are joined to words by jieba, between slots, and come back as characters.
    """

    def __init__(self, splitter: Splitter):
        self.splitter = splitter

    def text(self, row: Row) -> str:
        """What tells two rows apart: the tokens.

        Raises:
            UserError: for tokens or slots that are none, with file and row.
        """
        return "\x1f".join(tokens_and_tags(row)[0])

    def sentence(self, row: Row) -> Sentence:
        """The row's slots as they are, and the words outside."""
        tokens, tags = tokens_and_tags(row)
        characters = self.by_character(tokens)
        words: list[Word] = []
        position = 0
        for start, end, _ in [*entities(tags), (len(tokens), len(tokens), "")]:
            outside = tokens[position:start]
            words += (
                self.words_of(outside)
                if characters
                else [outside_word(token, (token,)) for token in outside]
            )
            if start < end:
                span = tuple(tokens[start:end])
                words.append(Word(" ".join(span), False, span, tuple(tags[start:end])))
            position = end
        gaps = [glue(a.text, b.text) for a, b in zip(words, words[1:], strict=False)]
        return Sentence(tuple(words), ("", *gaps, ""))

    def values(self, row: Row, sentence: Sentence) -> dict[str, Any] | None:
        """The row with the tokens and slots of `sentence`; None when nothing is left, or a slot would change."""
        old_tokens, old_tags = tokens_and_tags(row)
        characters = self.by_character(old_tokens)
        tokens: list[str] = []
        tags: list[str] = []
        for word in sentence.words:
            if word.tokens:
                tokens += word.tokens
                tags += word.tags
            else:
                new = [c for c in word.text if not c.isspace()] if characters else word.text.split()
                tokens += new
                tags += [OUTSIDE] * len(new)
        if not tokens or slot_texts(tokens, tags) != slot_texts(old_tokens, old_tags):
            return None
        text = {"text": ("" if characters else " ").join(tokens)} if "text" in row.values else {}
        return {**row.values, **text, "tokens": tokens, "slots": tags}

    def by_character(self, tokens: list[str]) -> bool:
        """Whether the tokens are characters of Chinese words."""
        return self.splitter.cut is not None and all(
            len(token) == 1 for token in tokens if IS_CHINESE.search(token)
        )

    def words_of(self, tokens: list[str]) -> list[Word]:
        """Characters outside of slots as words; longer tokens among them are words by themselves."""
        words: list[Word] = []
        run = ""
        for token in [*tokens, ""]:
            if len(token) == 1:
                run += token
                continue
            words += (
                [outside_word(piece, tuple(piece)) for piece in self.splitter.pieces(run)]
                if run
                else []
            )
            words += [outside_word(token, (token,))] if token else []
            run = ""
        return words


def outside_word(text: str, tokens: tuple[str, ...]) -> Word:
    """What stands outside of slots; punctuation and numbers stay as they are."""
    return Word(text, bool(NO_DIGIT_WORD.fullmatch(text)), tokens, (OUTSIDE,) * len(tokens))


def slot_texts(tokens: list[str], tags: list[str]) -> list[tuple[str, list[str]]]:
    """Name and tokens of each slot, in order."""
    return [(name, tokens[start:end]) for start, end, name in entities(tags)]
