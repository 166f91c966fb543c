"""Turn rows into sentences and back: a text column, or tokens and slots whose spans stay whole."""

from itertools import groupby, pairwise
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
        self.splitter = splitter
        self.text_column = text_column

    def text(self, row: Row) -> str:
        """Return what tells two rows apart.

        Raises:
            UserError: if the text is missing or empty, with file and row.
        """
        return text_of(row, self.text_column)

    def sentence(self, row: Row) -> Sentence:
        """Return the row's words."""
        return self.splitter(self.text(row))

    def values(self, row: Row, sentence: Sentence) -> dict[str, Any] | None:
        """Return the row with the text of `sentence`; None if nothing is left of it, or an address would change."""
        text = sentence.text.strip()
        if not text:
            return None
        # No edit touches an address, but a word that comes to stand next to one may become a part of it.
        if units(text) != units(self.text(row)):
            return None
        return {**row.values, self.text_column: text}


class JointRows:
    """Rows with `tokens`, `slots` and an intent; a `text`, if they have one too, becomes the tokens' text.

    Tokens that are Chinese characters are joined to words by jieba, between slots, and come back as characters.
    """

    def __init__(self, splitter: Splitter):
        self.splitter = splitter

    def text(self, row: Row) -> str:
        """Return what tells two rows apart: the tokens.

        Raises:
            UserError: for tokens or slots that are not lists of them, with file and row.
        """
        tokens, _ = tokens_and_tags(row)
        # A character that no token has, so that different tokens never give the same text.
        return "\x1f".join(tokens)

    def sentence(self, row: Row) -> Sentence:
        """Return the row's slots, each as one word that is not free, and the words outside."""
        tokens, tags = tokens_and_tags(row)
        by_character = self.by_character(tokens)
        words: list[Word] = []
        position = 0
        for start, end, _ in entities(tags):
            words += self.outside_words(tokens[position:start], by_character)
            words.append(slot_word(tokens[start:end], tags[start:end]))
            position = end
        words += self.outside_words(tokens[position:], by_character)
        gaps = [glue(left.text, right.text) for left, right in pairwise(words)]
        return Sentence(tuple(words), ("", *gaps, ""))

    def values(self, row: Row, sentence: Sentence) -> dict[str, Any] | None:
        """Return the row with the tokens and slots of `sentence`; None if nothing is left, or a slot would change."""
        old_tokens, old_tags = tokens_and_tags(row)
        by_character = self.by_character(old_tokens)
        tokens: list[str] = []
        tags: list[str] = []
        for word in sentence.words:
            # A word that an edit put in has neither tokens nor tags yet.
            new = word.tokens or split_tokens(word.text, by_character)
            tokens += new
            tags += word.tags or [OUTSIDE] * len(new)
        # Two slots of one name that come to stand side by side may read as one.
        if not tokens or slot_texts(tokens, tags) != slot_texts(old_tokens, old_tags):
            return None
        values = {**row.values, "tokens": tokens, "slots": tags}
        if "text" in values:
            separator = " "
            if by_character:
                separator = ""
            values["text"] = separator.join(tokens)
        return values

    def by_character(self, tokens: list[str]) -> bool:
        """Return whether the tokens are characters of Chinese words."""
        if self.splitter.cut is None:
            return False
        # Corpora that come split into words have longer ones.
        return all(len(token) == 1 for token in tokens if IS_CHINESE.search(token))

    def outside_words(self, tokens: list[str], by_character: bool) -> list[Word]:
        """Return the words that some tokens outside of slots make up."""
        if by_character:
            return self.words_of_characters(tokens)
        return [outside_word(token, [token]) for token in tokens]

    def words_of_characters(self, tokens: list[str]) -> list[Word]:
        """Return the words that characters make up; longer tokens among them are words by themselves."""
        words: list[Word] = []
        for single, run in groupby(tokens, key=lambda token: len(token) == 1):
            if single:
                for piece in self.splitter.pieces("".join(run)):
                    words.append(outside_word(piece, list(piece)))
            else:
                words += [outside_word(token, [token]) for token in run]
        return words


def slot_word(tokens: list[str], tags: list[str]) -> Word:
    """Return a slot as one word that no edit touches."""
    return Word(" ".join(tokens), False, tuple(tokens), tuple(tags))


def outside_word(text: str, tokens: list[str]) -> Word:
    """Return a word outside of slots; punctuation and numbers stay as they are."""
    is_word = NO_DIGIT_WORD.fullmatch(text) is not None
    return Word(text, is_word, tuple(tokens), (OUTSIDE,) * len(tokens))


def split_tokens(text: str, by_character: bool) -> tuple[str, ...]:
    """Return the tokens of a new word, which may be several words."""
    words = text.split()
    if by_character:
        return tuple("".join(words))
    return tuple(words)


def slot_texts(tokens: list[str], tags: list[str]) -> list[tuple[str, list[str]]]:
    """Return the name and the tokens of each slot, in order."""
    slots = []
    for start, end, name in entities(tags):
        slots.append((name, tokens[start:end]))
    return slots
