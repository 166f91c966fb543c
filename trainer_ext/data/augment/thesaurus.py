"""Words that can stand for each other, from a file.

Format: UTF-8 text (`.gz` too), one group of synonyms a line, commas (`,` or `，`) between them; an entry may be several
words; `#` begins a comment. A word may stand in several groups. Inflected forms are groups of their own. Case does not
count.
"""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainer_ext.data.io.open import open_text, reading_errors
from trainer_ext.errors import UserError

OWN = Path(__file__).parent
VOWELS = tuple("aeiou")


class Thesaurus:
    """Synonyms by word."""

    def __init__(self, groups: Iterable[Iterable[str]]):
        self.synonyms: dict[str, list[str]] = {}
        for group in groups:
            entries = list(dict.fromkeys(group))
            for entry in entries:
                known = self.synonyms.setdefault(entry.lower(), [])
                known += [
                    other
                    for other in entries
                    if other.lower() != entry.lower() and other not in known
                ]

    def __contains__(self, word: str) -> bool:
        return bool(self.synonyms.get(word.lower()))

    def pick(self, word: str, generator: random.Random, before: str = "") -> str | None:
        """A synonym in the case of `word`, or None when there is none.

        Args:
            word: the word to stand for.
            generator: chooses among them.
            before: the word in front; after `a` and `an` only what can follow it is taken.
        """
        known = self.synonyms.get(word.lower(), [])
        if before.lower() in ("a", "an"):
            known = [
                other
                for other in known
                if other.lower().startswith(VOWELS) == (before.lower() == "an")
            ]
        return match_case(word, generator.choice(known)) if known else None


def read_thesaurus(path: str) -> Thesaurus:
    """A thesaurus from a file.

    Raises:
        UserError: for a file that cannot be read, or a line with one entry or an empty one, with its number.
    """
    with reading_errors(path), open_text(path, newline=None) as file:
        thesaurus = Thesaurus(read_groups(path, file))
    if not thesaurus.synonyms:
        raise UserError(f"{path} has no synonyms: expected lines such as 'quick, fast, rapid'")
    return thesaurus


def read_groups(path: str, lines: Iterable[str]) -> Iterator[list[str]]:
    """The entries of each line that has some."""
    for number, line in enumerate(lines, 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        entries = [" ".join(entry.split()) for entry in line.replace("，", ",").split(",")]
        if len(entries) < 2 or not all(entries):
            raise UserError(
                f"{path}, line {number}: expected two entries or more, commas between, got {line!r}"
            )
        yield entries


def own_thesaurus(language: str) -> Thesaurus:
    """The small one that comes with the package, written for it: `zh` or `en`."""
    return read_thesaurus(str(OWN / f"thesaurus.{language}.txt"))


def match_case(word: str, other: str) -> str:
    """`other` in capitals, with a capital, or as it is, after the example of `word`."""
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other
