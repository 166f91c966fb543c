"""Slots in a sequence of tags, and their F1, counted as `seqeval` counts them in its default mode."""

import re
from collections.abc import Iterable, Sequence

from trainer_ext.errors import UserError

OUTSIDE = "O"
TAG = re.compile(r"O|[BIES]-\S+")


def check_tag(tag: object) -> str:
    """Return a tag as it is, or raise `UserError` if it is neither `O` nor `B-`, `I-`, `E-` or `S-` and a name."""
    if not isinstance(tag, str) or not TAG.fullmatch(tag):
        raise UserError(
            f"{tag!r} is not a tag: expected O, or B-, I-, E- or S- and the name of a slot"
        )
    return tag


def entities(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (start, end, slot) of each slot in order, `end` exclusive.

    For BIO, IOB1 and BIOES tags, also ill-formed ones: a slot ends before `B`, `S` or `O`, after `E` or `S`, and if
    the name changes; any tag but `O` begins one if none is open, so `O I-a` counts as a slot of one tag.

    Source: `seqeval.metrics.sequence_labeling.get_entities` (itself after conlleval.pl).
    """
    found = []
    start: int | None = None
    open_name = ""
    previous = OUTSIDE
    # The tag that is added at the end closes a slot of the last word.
    for position, tag in enumerate([*tags, OUTSIDE]):
        prefix, name = tag[0], tag[2:]
        ends = previous in "ES" or prefix in "BSO" or name != open_name
        if start is not None and ends:
            found.append((start, position, open_name))
            start = None
        if start is None and prefix != OUTSIDE:
            start = position
            open_name = name
        previous = prefix
    return found


def slot_f1(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Return the micro-averaged F1 of the slots in (true tags, predicted tags); 0 if neither side has a slot."""
    both = 0
    total = 0
    for true, predicted in pairs:
        true_slots = entities(true)
        predicted_slots = entities(predicted)
        both += len(set(true_slots) & set(predicted_slots))
        total += len(true_slots) + len(predicted_slots)
    if not total:
        return 0.0
    return 2 * both / total


def slot_counts(true: Sequence[str], predicted: Sequence[str], names: Sequence[str]) -> list[float]:
    """Return slots that are found, and slots of both sides, of a row: of any name, then of each of `names`."""
    true_slots = entities(true)
    predicted_slots = entities(predicted)
    found = set(true_slots) & set(predicted_slots)
    counts = [float(len(found)), float(len(true_slots) + len(predicted_slots))]
    found_names = [name for *_, name in found]
    all_names = [name for *_, name in [*true_slots, *predicted_slots]]
    for name in names:
        counts += [float(found_names.count(name)), float(all_names.count(name))]
    return counts
