"""Choose which tokens of a text beyond `max_length` stay: its head, its tail, or both ends.

Training and prediction both cut here; needs no framework. Source of `head_tail`: Sun et al. 2019, How to Fine-Tune BERT
for Text Classification? (arXiv:1905.05583), section 5.3.1, which keeps the first 128 and the last 382 of 510 tokens: a
head of a quarter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from trainer_ext.errors import UserError

MODES = ("head", "tail", "head_tail")


class Tokens(NamedTuple):
    """What the model reads of a text, special tokens included."""

    ids: list[int]
    type_ids: list[int]


class Encoding(Protocol):
    """The part of `tokenizers.Encoding` that is used here, of a text that is not cut."""

    ids: list[int]
    type_ids: list[int]
    special_tokens_mask: list[int]


@dataclass(frozen=True)
class Truncation:
    """How texts are cut.

    Attributes:
        mode: `head`, `tail` or `head_tail`.
        head_share: of the tokens that stay, those of the head (`head_tail`).
        marker: a text whose tokens stand between head and tail (`head_tail`); None for none.
    """

    mode: str = "head"
    head_share: float = 0.25
    marker: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what a checkpoint's config stores: only what has an effect."""
        stored: dict[str, Any] = {"mode": self.mode}
        if self.mode == "head_tail":
            stored |= {"head_share": self.head_share, "marker": self.marker}
        return stored

    @classmethod
    def from_dict(cls, stored: dict[str, Any] | None) -> "Truncation":
        """Return the inverse of `to_dict`; `head` for None.

        Raises:
            KeyError, TypeError: for what `to_dict` does not write.
        """
        policy = cls(**(stored or {}))
        if policy.mode not in MODES:
            raise KeyError(policy.mode)
        return policy

    def cutter(
        self,
        max_length: int,
        special: int,
        encode: Callable[[str], list[int]],
    ) -> "Cutter | None":
        """Return what cuts encodings; None for `head`, which the tokenizer cuts itself, and faster.

        Args:
            max_length: in tokens, special tokens included.
            special: how many special tokens a text gets.
            encode: the tokenizer without special tokens, for the marker.

        Raises:
            UserError: if the marker leaves no room for a head and a tail.
        """
        if self.mode == "head":
            return None
        marker = encode(self.marker) if self.marker else []
        if max_length - special - len(marker) < 2:
            raise UserError(
                f"max_length {max_length} has no room for a head and a tail beside {special} special tokens and the "
                f"{len(marker)} of truncation_marker {self.marker!r}"
            )
        head_share = self.head_share if self.mode == "head_tail" else 0.0
        return Cutter(max_length, head_share, marker)


@dataclass(frozen=True)
class Cutter:
    """`truncate` for encodings of one tokenizer; `marker` are token ids."""

    max_length: int
    head_share: float
    marker: list[int]

    def __call__(self, encoding: Encoding) -> Tokens:
        """Return a text that was encoded without truncation as at most `max_length` tokens."""
        if len(encoding.ids) <= self.max_length:
            return Tokens(encoding.ids, encoding.type_ids)
        types = encoding.type_ids
        # The marker's tokens are of the text's type, which is that of its middle: special tokens may have another.
        marker_types = [types[len(types) // 2]] * len(self.marker)
        settings = (encoding.special_tokens_mask, self.max_length, self.head_share)
        ids = truncate(encoding.ids, *settings, self.marker)
        return Tokens(ids, truncate(types, *settings, marker_types))


def truncate(
    values: list[int],
    special: Sequence[int],
    max_length: int,
    head_share: float,
    marker: list[int],
) -> list[int]:
    """Return `values` of one text's tokens, cut to `max_length` if there are more: head, marker and tail.

    Args:
        values: one for each token (ids, or token types).
        special: 1 for each special token in front of the text and behind it, which stay; 0 for the text's own.
        max_length: special tokens included.
        head_share: of the text's tokens that stay, those of its head: 1 keeps the head only, 0 the tail.
        marker: values that stand where tokens were cut out; shorter than the room for the text.
    """
    if len(values) <= max_length:
        return values
    specials_before = special.index(0)
    specials_behind = special[::-1].index(0)
    kept = max_length - specials_before - specials_behind - len(marker)
    head = round(kept * head_share)
    tail = kept - head
    # Not values[-tail:], which would be everything if no tail is kept.
    tail_start = len(values) - specials_behind - tail
    return values[: specials_before + head] + marker + values[tail_start:]
