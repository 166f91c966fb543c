"""Find repeated texts, texts with contradicting labels, and texts that two files share; keep digests, not texts."""

from collections import Counter
from hashlib import blake2b
from typing import Any


def normalised(text: str) -> str:
    """Return the text case-folded, with single spaces: texts that are equal then count as the same."""
    return " ".join(text.casefold().split())


class TextIndex:
    """The texts of one file or split, by digest, how often each occurs, and whether its labels agree."""

    def __init__(self) -> None:
        self.rows = 0
        self.counts: Counter[bytes] = Counter()
        self.labels: dict[bytes, bytes] = {}
        self.conflicting: set[bytes] = set()

    def add(self, text: str, label: Any) -> None:
        """Add one row; `label` is anything whose `repr` is equal for equal labels."""
        key = digest(text)
        mark = digest(repr(label))
        self.rows += 1
        self.counts[key] += 1
        if self.labels.setdefault(key, mark) != mark:
            self.conflicting.add(key)

    def repeats(self) -> dict[str, int]:
        """Count rows whose text an earlier row has, texts with more than one label, and the rows of those texts."""
        return {
            "repeated_rows": self.rows - len(self.counts),
            "conflicting_texts": len(self.conflicting),
            "conflicting_rows": sum(self.counts[key] for key in self.conflicting),
        }

    def shared(self, other: "TextIndex") -> dict[str, int]:
        """Count texts that both have, the rows of `other` that have one, and the texts whose labels differ."""
        keys = self.counts.keys() & other.counts.keys()
        conflicting = (self.conflicting | other.conflicting) & keys
        conflicting |= {key for key in keys if self.labels[key] != other.labels[key]}
        return {
            "texts": len(keys),
            "rows_of_second": sum(other.counts[key] for key in keys),
            "conflicting_texts": len(conflicting),
        }


def text_key(text: str) -> bytes:
    """Return a key that is the same for texts that differ only in case and whitespace."""
    return digest(normalised(text))


def digest(text: str) -> bytes:
    """Return 8 bytes of a text's hash."""
    # Two of a hundred million different texts share them with a probability of 3 in 10,000.
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
