"""The label space of joint intent and slots: intents as the classes, and beside them the tags."""

from collections.abc import Iterable, Mapping, Sequence
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


@dataclass(frozen=True)
class JointLabelSpace(LabelSpace):
    """Intents as the classes, and beside them the tags.

    Attributes:
        tags: `O` first, so that a word without a prediction (all zeros) is outside.
        by_character: whether the training rows' tokens are characters; a text is then split the same way.
        neighbours: a tag, the next one, and how often training rows have them so.
    """

    tags: tuple[str, ...] = (OUTSIDE,)
    by_character: bool = False
    neighbours: tuple[tuple[str, str, int], ...] = ()

    @classmethod
    def from_rows(
        cls, intents: Iterable[str], tags: Iterable[Sequence[str]], tokens: Iterable[Sequence[str]]
    ) -> "JointLabelSpace":
        """Return the space of the training rows."""
        space = LabelSpace.from_values(COLUMNS[2:], intents)
        counts = neighbours(tags)
        names = {tag for pair in counts for tag in pair}
        ordered = sorted(names - {OUTSIDE})
        return cls(
            space.columns,
            space.classes,
            space.values,
            tags=(OUTSIDE, *ordered),
            by_character=all(len(token) == 1 for row in tokens for token in row),
            neighbours=as_counted(counts),
        )

    def counted_in(self, tags: Iterable[Sequence[str]]) -> "JointLabelSpace":
        """Return the space with the neighbours of other rows: those of a fold's training part."""
        return replace(self, neighbours=as_counted(neighbours(tags)))

    @property
    def slots(self) -> list[str]:
        """The names of slots, sorted."""
        return sorted({tag[2:] for tag in self.tags if tag != OUTSIDE})

    def encode_intent(self, intent: str) -> int:
        """Return the index of an intent; `UNSEEN` or below if no training row has it."""
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
        slots = self.slots
        number = slots.index(slot) if slot in slots else len(slots) + checksum(slot)
        return UNSEEN - (number * len(PREFIXES) + PREFIXES.index(prefix))

    def tag_name(self, index: int) -> str:
        """Return the tag of an index; a slot that no training row has is called by a number."""
        if index >= 0:
            return self.tags[index]
        number, prefix = divmod(UNSEEN - index, len(PREFIXES))
        slots = self.slots
        slot = slots[number] if number < len(slots) else f"unseen-{number - len(slots)}"
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
        tags, counts = stored["tags"], stored["neighbours"]
        if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
            raise ValueError(f"tags {tags!r:.80} are not a list of names")
        if not isinstance(counts, list) or not all(is_count(item) for item in counts):
            raise ValueError(f"neighbours {counts!r:.80} are not two tags and a count each")
        values: dict[str, Any] = {
            key: tuple(items) for key, items in stored.items() if key != "by_character"
        }
        values["by_character"] = bool(stored["by_character"])
        values["neighbours"] = tuple(map(tuple, counts))
        return cls(**values)


def is_count(item: Any) -> bool:
    """Return whether this is `[tag, next tag, times]`."""
    if not isinstance(item, list) or len(item) != 3:
        return False
    before, tag, times = item
    if not isinstance(before, str) or not isinstance(tag, str):
        return False
    return isinstance(times, int) and times >= 0


def as_counted(counts: Neighbours) -> tuple[tuple[str, str, int], ...]:
    """Return the counts in a fixed order, so that the same rows give the same config."""
    return tuple((before, tag, times) for (before, tag), times in sorted(counts.items()))


def checksum(name: str) -> int:
    """Return a number of 32 bits that stands for a name, in every process the same."""
    return crc32(name.encode("utf-8", "surrogatepass"))
