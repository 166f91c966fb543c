"""Repeated texts, texts with contradicting labels, and texts that two files share; holds digests, not texts."""

from collections import Counter
from hashlib import blake2b
from typing import Any


def normalised(text: str) -> str:
    """Case folded, every run of white space one blank: what counts as the same text."""
    return " ".join(text.casefold().split())


class TextIndex:
    """The texts of one file or split, by digest, with how often each stands there and whether its labels agree."""

    def __init__(self):
        self.rows = 0
        self.counts: Counter[bytes] = Counter()
        self.labels: dict[bytes, bytes] = {}
        self.conflicting: set[bytes] = set()

    def add(self, text: str, label: Any) -> None:
        """One row; `label` is anything whose `repr` is equal for equal labels."""
        key, mark = digest(text), digest(repr(label))
        self.rows += 1
        self.counts[key] += 1
        if self.labels.setdefault(key, mark) != mark:
            self.conflicting.add(key)

    def repeats(self) -> dict[str, int]:
        """Rows whose text stood in an earlier row, texts with more than one label, and the rows of those texts."""
        return {
            "repeated_rows": self.rows - len(self.counts),
            "conflicting_texts": len(self.conflicting),
            "conflicting_rows": sum(self.counts[key] for key in self.conflicting),
        }

    def shared(self, other: "TextIndex") -> dict[str, int]:
        """Texts that stand in both, the rows of `other` that have one, and how many of the texts differ in labels."""
        keys = self.counts.keys() & other.counts.keys()
        either = self.conflicting | other.conflicting
        return {
            "texts": len(keys),
            "rows_of_second": sum(other.counts[key] for key in keys),
            "conflicting_texts": sum(
                key in either or self.labels[key] != other.labels[key] for key in keys
            ),
        }


def text_key(text: str) -> bytes:
    """What two texts share that differ in case and white space alone."""
    return digest(normalised(text))


def digest(text: str) -> bytes:
    """8 bytes: two of a hundred million different texts share them with a chance of 3 in 10,000."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
