"""The label space of joint intent and slots: intents as the classes, and the tags of words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from trainer_ext.tasks.entities import OUTSIDE
from trainer_ext.tasks.label_space import LabelSpace, normalise
from trainer_ext.tasks.transitions import Neighbours, neighbours

COLUMNS = ("tokens", "slots", "intent")
"""Of every file for this task."""
UNSEEN = -1000
"""And below: intents and tags that no training row has. Losses leave negative labels out, metrics count them wrong."""
PREFIXES = "BIES"
Counted = tuple[tuple[str, str, int], ...]
"""A tag, the next one, and how often training rows have them so."""


@dataclass(frozen=True)
class JointLabelSpace(LabelSpace):
    """Intents as the classes, and the tags of words.

    Attributes:
        tags: `O` first, so that a word without a prediction (all zeros) is outside.
        by_character: whether the training rows' tokens are characters; a text is then split the same way.
        neighbours: of the training rows; what decoding knows of which tag follows which.
    """

    tags: tuple[str, ...] = (OUTSIDE,)
    by_character: bool = False
    neighbours: Counted = ()

    @classmethod
    def from_rows(
        cls,
        intents: Iterable[str],
        tags: Iterable[Sequence[str]],
        tokens: Iterable[Sequence[str]],
    ) -> "JointLabelSpace":
        """Return the space of the training rows."""
        space = LabelSpace.from_values(COLUMNS[2:], intents)
        counts = neighbours(tags)
        # Every tag is the first of some pair.
        names = {tag for tag, _ in counts}
        ordered = sorted(names - {OUTSIDE})
        return cls(
            space.columns,
            space.classes,
            space.values,
            tags=(OUTSIDE, *ordered),
            by_character=all(map(is_characters, tokens)),
            neighbours=as_counted(counts),
        )

    def counted_in(self, tags: Iterable[Sequence[str]]) -> "JointLabelSpace":
        """Return the space with the neighbours of other rows: those of a fold's training part."""
        return replace(self, neighbours=as_counted(neighbours(tags)))

    @property
    def slots(self) -> list[str]:
        """The names of slots, sorted."""
        return sorted({tag[2:] for tag in self.tags if tag != OUTSIDE})

    def slot_number(self, slot: str) -> int:
        """Return the position of a slot; a slot that no training row has comes after all others."""
        slots = self.slots
        if slot in slots:
            return slots.index(slot)
        return len(slots) + checksum(slot)

    def encode_intent(self, intent: str) -> int:
        """Return the index of an intent; `UNSEEN` or below if no training row has it."""
        # As `LabelSpace.from_values` has normalised the classes.
        intent = normalise(intent)
        if intent in self.classes:
            return self.classes.index(intent)
        return UNSEEN - checksum(intent)

    def encode_tag(self, tag: str) -> int:
        """Return the index of a tag; `UNSEEN` or below if no training row has it.

        The number of such a tag holds its prefix and slot, because both count in `slot_f1`. So every task with this
        label space reads it alike: one model's task encodes rows that another's is scored on.
        """
        if tag in self.tags:
            return self.tags.index(tag)
        prefix, slot = tag[0], tag[2:]
        number = self.slot_number(slot)
        code = number * len(PREFIXES) + PREFIXES.index(prefix)
        return UNSEEN - code

    def tag_name(self, index: int) -> str:
        """Return the tag of an index; a slot that no training row has is called by a number."""
        if index >= 0:
            return self.tags[index]
        number, prefix = divmod(UNSEEN - index, len(PREFIXES))
        slot = f"unseen-{number}"
        if number < len(self.slots):
            slot = self.slots[number]
        return f"{PREFIXES[prefix]}-{slot}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values as stored in a checkpoint's config."""
        return {
            **LabelSpace(self.columns, self.classes, self.values).to_dict(),
            "tags": list(self.tags),
            "by_character": self.by_character,
            "neighbours": [list(counted) for counted in self.neighbours],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "JointLabelSpace":
        """Return the inverse of `to_dict`.

        Raises:
            ValueError: for tags that are not names, and neighbours that are not two of them with a count.
        """
        tags = stored["tags"]
        if not tags or not is_list_of(tags, is_name):
            raise ValueError(f"tags {tags!r:.80} are not a list of names")
        counts = stored["neighbours"]
        if not is_list_of(counts, is_count):
            raise ValueError(f"neighbours {counts!r:.80} are not two tags and a count each")
        values: dict[str, Any] = {
            key: tuple(items) for key, items in stored.items() if key != "by_character"
        }
        values["by_character"] = bool(stored["by_character"])
        values["neighbours"] = tuple(map(tuple, counts))
        return cls(**values)


def is_characters(tokens: Sequence[str]) -> bool:
    """Return whether each token is one character."""
    return all(len(token) == 1 for token in tokens)


def is_list_of(items: Any, is_item: Callable[[Any], bool]) -> bool:
    """Return whether this is a list in which all items are of a kind."""
    return isinstance(items, list) and all(map(is_item, items))


def is_name(item: Any) -> bool:
    """Return whether this is a text."""
    return isinstance(item, str)


def is_count(item: Any) -> bool:
    """Return whether this is `[tag, next tag, times]`."""
    if not isinstance(item, list) or len(item) != 3:
        return False
    before, tag, times = item
    if not is_name(before) or not is_name(tag):
        return False
    return isinstance(times, int) and times >= 0


def as_counted(counts: Neighbours) -> Counted:
    """Return the counts in a fixed order, so that the same rows give the same config."""
    ordered = []
    for pair, times in sorted(counts.items()):
        before, tag = pair
        ordered.append((before, tag, times))
    return tuple(ordered)


def checksum(name: str) -> int:
    """Return 32 bits of a name, the same in every process (Python's `hash` is not)."""
    return crc32(name.encode("utf-8", "surrogatepass"))
