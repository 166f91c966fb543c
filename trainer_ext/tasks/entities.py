"""Slots in a sequence of tags, and their F1, counted as `seqeval` counts them in its default mode."""

import re
from collections.abc import Iterable, Sequence

from trainer_ext.errors import UserError

OUTSIDE = "O"
TAG = re.compile(r"O|[BIES]-\S+")


def check_tag(tag: object) -> str:
    """A tag as it is, or a `UserError` when it is neither `O` nor `B-`, `I-`, `E-` or `S-` with a slot's name."""
    if not isinstance(tag, str) or not TAG.fullmatch(tag):
        raise UserError(
            f"{tag!r} is no tag: expected O, or B-, I-, E- or S- and the name of a slot"
        )
    return tag


def chunks(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(start, end, slot) of each slot, `end` exclusive, in order. For BIO, IOB1 and BIOES tags, also ill-formed ones.

    Source: `seqeval.metrics.sequence_labeling.get_entities` (itself after conlleval.pl). A slot ends before `B`, `S` or
    `O`, after `E` or `S`, and where the name changes; any tag but `O` begins one where none is open, so `O I-a` counts
    as a slot of one tag.
    """
    found, start, previous, open_name = [], None, OUTSIDE, ""
    for position, tag in enumerate([*tags, OUTSIDE]):
        prefix, name = tag[0], tag[2:]
        if start is not None and (previous in "ES" or prefix in "BSO" or name != open_name):
            found.append((start, position, open_name))
            start = None
        if start is None and prefix != OUTSIDE:
            start, open_name = position, name
        previous = prefix
    return found


def slot_f1(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Micro-averaged F1 over the slots of (true tags, predicted tags) pairs; 0 where neither side has a slot."""
    both = total = 0
    for true, predicted in pairs:
        a, b = chunks(true), chunks(predicted)
        both += len(set(a) & set(b))
        total += len(a) + len(b)
    return 2 * both / total if total else 0.0
