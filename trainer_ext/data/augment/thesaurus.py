"""Read words that can stand for each other from a file.

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
            # Lists, not sets: the same seed picks the same synonym in every process.
            entries = list(dict.fromkeys(group))
            for entry in entries:
                known = self.synonyms.setdefault(entry.lower(), [])
                for other in entries:
                    if other.lower() != entry.lower() and other not in known:
                        known.append(other)

    def __contains__(self, word: str) -> bool:
        return bool(self.synonyms.get(word.lower()))

    def pick(self, word: str, generator: random.Random, before: str = "") -> str | None:
        """Return a synonym in the case of `word`, or None if there is none.

        Args:
            word: the word to stand for.
            generator: chooses among them.
            before: the word in front; after `a` and `an` only what can follow it is taken.
        """
        known = self.synonyms.get(word.lower(), [])
        article = before.lower()
        if article in ("a", "an"):
            vowel = article == "an"
            known = [other for other in known if other.lower().startswith(VOWELS) == vowel]
        if not known:
            return None
        return match_case(word, generator.choice(known))


def read_thesaurus(path: str) -> Thesaurus:
    """Read a thesaurus from a file.

    Raises:
        UserError: for a file that cannot be read, or a line with one entry or an empty one, with its number.
    """
    with reading_errors(path), open_text(path, newline=None) as file:
        thesaurus = Thesaurus(read_groups(path, file))
    if not thesaurus.synonyms:
        raise UserError(f"{path} has no synonyms: expected lines such as 'quick, fast, rapid'")
    return thesaurus


def read_groups(path: str, lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the entries of each line that has some."""
    for number, line in enumerate(lines, 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        parts = line.replace("，", ",").split(",")
        entries = [" ".join(part.split()) for part in parts]
        if len(entries) < 2 or not all(entries):
            raise UserError(
                f"{path}, line {number}: expected two entries or more, commas between, got {line!r}"
            )
        yield entries


def own_thesaurus(language: str) -> Thesaurus:
    """Read the small thesaurus that comes with the package, written for it: `zh` or `en`."""
    return read_thesaurus(str(OWN / f"thesaurus.{language}.txt"))


def match_case(word: str, other: str) -> str:
    """Return `other` in capitals, with a capital, or as it is, after the example of `word`."""
    # `I` alone does not shout.
    if len(word) > 1 and word.isupper():
        return other.upper()
    if word[:1].isupper():
        return other[:1].upper() + other[1:]
    return other
