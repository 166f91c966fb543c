"""What looks wrong about the classes of training rows, said before a model is trained on them.

None of it is an error for certain: a class may be rare, or called like its column. But a header inside a file, a line
whose tab is not before a label, or labels joined by another separator all show as classes that nobody meant.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer_ext.data.io.readers import Row
from trainer_ext.tasks import Task

FEWEST_ROWS = 8  # of fewer rows nothing can be said
RARE = 2
NAMED = 5
FEW_SHARE = 0.2  # of the rows
LONG = 60  # characters: the longest intents of published sets have 45
GAPS = {"nan", "none", "null", "n/a", "<na>", "nat"}
SEPARATORS = (",", ";", "|", "/", "\n", "\t", " ")
WRAPPED = re.compile(r"""^(\[.*\]|\{.*\}|\(.*\)|'.*'|".*")$""", re.DOTALL)


def print_label_notes(task: Task, labels: Sequence, rows: Iterable[Row]) -> None:
    """The notes on stderr; of rows that are not in memory only what their classes say."""
    columns = next(iter(rows), Row({}, "")).values
    in_memory = isinstance(rows, list)
    places = [row.where for row in rows] if in_memory else []
    for note in label_notes(task, list(labels) if in_memory else None, places, list(columns)):
        print(f"note: {note}", file=sys.stderr, flush=True)


def label_notes(
    task: Task, labels: Sequence | None, places: Sequence[str], columns: Sequence[str]
) -> Iterator[str]:
    """The notes, a line each.

    Args:
        task: with the classes of the training rows.
        labels: encoded, one for each row; None where they are not all in memory.
        places: of the rows, for messages.
        columns: their names.
    """
    classes = task.label_space.classes
    if not classes:
        return
    by_column = (
        task.takes_lists and len(task.label_space.columns) > 1
    )  # a column of 0 and 1 for each class
    if not by_column:
        yield from odd_names(classes, columns)
        yield from joined_names(classes, task.takes_lists)
    if labels is None or len(labels) < FEWEST_ROWS:
        return
    flags = class_flags(task, labels)
    counts = flags.sum(axis=0)
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent:
        yield f"no training row has the {plural(absent, 'class', 'classes')} {listed(absent)}"
    if 2 * (counts > 0).sum() > len(labels) and not by_column:
        yield f"{(counts > 0).sum()} classes in {len(labels)} rows: is the label in the right column?"
        return
    yield from lone_blanks(classes, counts)
    rare = [k for k in np.argsort(counts, kind="stable") if 0 < counts[k] <= RARE]
    if rare:
        named = [
            f"{show(classes[k])} ({', '.join(places[row] for row in np.flatnonzero(flags[:, k]))})"
            for k in rare[:NAMED]
        ]
        more = f" and {len(rare) - NAMED} more" if len(rare) > NAMED else ""
        what = plural(rare, "class has", "classes have")
        yield f"{len(rare)} {what} one or two of the {len(labels)} training rows: {', '.join(named)}{more}"


def class_flags(task: Task, labels: Sequence) -> np.ndarray:
    """(rows, classes): whether a row has a class, from encoded labels (of joint the intents)."""
    encoded = np.asarray(labels)
    if task.takes_lists:
        return encoded.astype(bool)
    encoded = encoded.reshape(len(encoded), -1)
    flags = np.zeros((len(encoded), len(task.label_space.classes)), dtype=bool)
    flags[np.arange(len(encoded))[:, None], encoded] = True
    return flags


def lone_blanks(classes: Sequence[str], counts: np.ndarray) -> Iterator[str]:
    """Classes of two words or more in few rows where the others are single words: texts, perhaps."""
    several = np.array([len(name.split()) > 1 for name in classes])
    if 0 < counts[several].sum() <= FEW_SHARE * counts.sum() and (~several).sum() > 1:
        names = [name for name, is_one in zip(classes, several, strict=True) if is_one]
        yield f"{plural(names, 'class', 'classes')} of several words, unlike the others (texts?): {listed(names)}"


def odd_names(classes: Sequence[str], columns: Sequence[str]) -> Iterator[str]:
    """Classes that look like something else."""
    known = {str(column).strip().casefold() for column in columns}
    kinds: Mapping[str, Iterable[str]] = {
        "called like a column: is it a second header?": (
            c for c in classes if c.casefold() in known
        ),
        "with a line break or tab inside: is the separator right?": (
            c for c in classes if re.search(r"[\n\r\t]", c)
        ),
        "as missing values are written": (c for c in classes if c.casefold() in GAPS),
        "in brackets or quotes: is it a list (task multi_label)?": (
            c for c in classes if WRAPPED.match(c)
        ),
        f"of more than {LONG} characters: is the label in the right column?": (
            c for c in classes if len(c) > LONG
        ),
    }
    for what, found in kinds.items():
        names = list(found)
        if names:
            yield f"{plural(names, 'class', 'classes')} {what} {listed(names)}"
    folded: dict[str, list[str]] = {}
    for name in classes:
        folded.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in folded.values():
        if len(names) > 1:
            yield f"classes that differ by case or blanks alone: {listed(names)}"


def joined_names(classes: Sequence[str], takes_lists: bool) -> Iterator[str]:
    """Classes that are other classes joined by something."""
    known = set(classes)
    for separator in SEPARATORS:
        joined = [
            name
            for name in classes
            if len(parts := split(name, separator)) > 1 and set(parts) <= known
        ]
        if joined:
            flag = (
                f"label_separator {separator!r}"
                if takes_lists
                else f"task multi_label, label_separator {separator!r}"
            )
            yield f"{plural(joined, 'class', 'classes')} that join others by {separator!r} ({flag}?): {listed(joined)}"


def split(name: str, separator: str) -> list[str]:
    """The parts, without blanks around them."""
    return [part for part in map(str.strip, name.split(separator)) if part]


def plural(items: Sequence[Any], one: str, many: str) -> str:
    """The word for as many."""
    return one if len(items) == 1 else many


def listed(names: Sequence[str]) -> str:
    """The first names."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(show, names[:NAMED])) + more


def show(name: str) -> str:
    """A name in quotes, not longer than a line."""
    return repr(name if len(name) <= LONG else f"{name[: LONG - 3]}...")
