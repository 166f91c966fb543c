"""Note what looks wrong about the classes of training rows, before a model is trained on them.

None of it is certainly an error: a class may be rare, or have the name of its column. But a header inside a file, a
line whose tab is not before a label, and labels joined by another separator all show as classes that nobody meant.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from trainer_ext.data.io.readers import Row
from trainer_ext.tasks import Task

logger = logging.getLogger(__name__)

FEWEST_ROWS = 8  # of fewer rows nothing can be said
RARE = 2  # rows
NAMED = 5  # classes that a note names
FEW_SHARE = 0.2  # of the rows
LONG = 60  # characters: the longest intents of published sets have 45
GAPS = {"nan", "none", "null", "n/a", "<na>", "nat"}
SEPARATORS = (",", ";", "|", "/", "\n", "\t", " ")
LINE_BREAK = re.compile(r"[\n\r\t]")
BITS = re.compile(r"[01](\W?)[01](?:\1[01])+")
WRAPPED = re.compile(r"""^(\[.*\]|\{.*\}|\(.*\)|'.*'|".*")$""", re.DOTALL)


def log_label_notes(task: Task, labels: Sequence, rows: Iterable[Row]) -> None:
    """Log the notes; for rows that are not in memory, only what the names of their classes say."""
    first_row = next(iter(rows), Row({}, ""))
    columns = list(first_row.values)
    if isinstance(rows, list):
        places = [row.where for row in rows]
        notes = label_notes(task, list(labels), places, columns)
    else:
        notes = label_notes(task, None, [], columns)
    for note in notes:
        logger.info(note)


def label_notes(
    task: Task,
    labels: Sequence | None,
    places: Sequence[str],
    columns: Sequence[str],
) -> Iterator[str]:
    """Yield the notes, a line each.

    Args:
        task: with the classes of the training rows.
        labels: encoded, one for each row; None if they are not all in memory.
        places: of the rows, for messages.
        columns: their names.
    """
    classes = task.label_space.classes
    if not classes:
        return
    # Several columns of lists are a column of 0 and 1 for each class: the columns' names are the classes.
    by_column = task.takes_lists and len(task.label_space.columns) > 1
    if not by_column:
        yield from odd_names(classes, columns)
        yield from joined_names(classes, task.takes_lists)
    if labels is None or len(labels) < FEWEST_ROWS:
        return
    flags = class_flags(task, labels)
    counts = flags.sum(axis=0)
    absent = names_where(counts == 0, classes)
    if absent:
        yield f"no training row has the {noun_for(absent)} {listed(absent)}"
    present = int((counts > 0).sum())
    if 2 * present > len(labels) and not by_column:
        # Then each class is rare, and notes on each would say no more.
        yield f"{present} classes in {len(labels)} rows: is the label in the right column?"
        return
    yield from texts_as_names(classes, counts)
    yield from rare_classes(classes, flags, places)


def class_flags(task: Task, labels: Sequence) -> np.ndarray:
    """Return (rows, classes): whether a row has a class, from encoded labels (of joint the intents)."""
    encoded = np.asarray(labels)
    if task.takes_lists:
        return encoded.astype(bool)
    encoded = encoded.reshape(len(encoded), -1)
    flags = np.zeros((len(encoded), len(task.label_space.classes)), dtype=bool)
    # (rows, 1) with (rows, aspects): a row's flags of all its aspects at once.
    rows = np.arange(len(encoded))[:, None]
    flags[rows, encoded] = True
    return flags


def rare_classes(classes: Sequence[str], flags: np.ndarray, places: Sequence[str]) -> Iterator[str]:
    """Note classes that one or two rows have, with the places of those rows."""
    counts = flags.sum(axis=0)
    rarest_first = np.argsort(counts, kind="stable")
    is_rare = (counts > 0) & (counts <= RARE)
    rare = rarest_first[is_rare[rarest_first]].tolist()
    if not rare:
        return
    shown = []
    for index in rare[:NAMED]:
        name = show(classes[index])
        rows = ", ".join(names_where(flags[:, index], places))
        shown.append(f"{name} ({rows})")
    subject = f"{len(rare)} classes occur"
    if len(rare) == 1:
        subject = "1 class occurs"
    named = ", ".join(shown) + and_more(rare)
    yield f"{subject} in only one or two of the {len(flags)} training rows: {named}"


def texts_as_names(classes: Sequence[str], counts: np.ndarray) -> Iterator[str]:
    """Note classes of two words or more in few rows if the others are single words: texts, perhaps."""
    several_words = np.array([len(name.split()) > 1 for name in classes])
    rows = counts[several_words].sum()
    few = FEW_SHARE * counts.sum()
    single_words = (~several_words).sum()
    # With one other class, neither kind of name is the rule.
    if not 0 < rows <= few or single_words < 2:
        return
    names = names_where(several_words, classes)
    yield f"{noun_for(names)} of several words, unlike the others (texts?): {listed(names)}"


def odd_names(classes: Sequence[str], columns: Sequence[str]) -> Iterator[str]:
    """Note classes that look like something else."""
    column_names = {str(column).strip().casefold() for column in columns}

    def is_column_name(name: str) -> bool:
        return name.casefold() in column_names

    def is_gap(name: str) -> bool:
        return name.casefold() in GAPS

    def is_long(name: str) -> bool:
        return len(name) > LONG

    looks_like: dict[str, Callable[[str], object]] = {
        "called like a column: is it a second header?": is_column_name,
        "with a line break or tab inside: is the separator right?": LINE_BREAK.search,
        "as missing values are written": is_gap,
        "in brackets or quotes: is it a list (task multi_label)?": WRAPPED.match,
        f"of more than {LONG} characters: is the label in the right column?": is_long,
    }
    for what, is_odd in looks_like.items():
        names = list(filter(is_odd, classes))
        if names:
            yield f"{noun_for(names)} {what} {listed(names)}"
    # One such name among others is a number, and so are names of two lengths.
    if len(set(map(len, classes))) == 1 and all(map(BITS.fullmatch, classes)):
        yield f"classes of 0 and 1 only: flags, one for each class (task multi_label)? {listed(classes)}"
    yield from same_but_for_case(classes)


def same_but_for_case(classes: Sequence[str]) -> Iterator[str]:
    """Note classes whose names differ only in case or whitespace."""
    spellings: dict[str, list[str]] = {}
    for name in classes:
        words = name.casefold().split()
        same = spellings.setdefault(" ".join(words), [])
        same.append(name)
    for names in spellings.values():
        if len(names) > 1:
            yield f"classes that differ only in case or whitespace: {listed(names)}"


def joined_names(classes: Sequence[str], takes_lists: bool) -> Iterator[str]:
    """Note classes that are other classes joined by a separator."""
    known = set(classes)
    for separator in SEPARATORS:
        joined = []
        for name in classes:
            parts = split_name(name, separator)
            if len(parts) > 1 and known.issuperset(parts):
                joined.append(name)
        if not joined:
            continue
        flag = f"label_separator {separator!r}"
        if not takes_lists:
            flag = f"task multi_label, {flag}"
        yield f"{noun_for(joined)} that join others by {separator!r} ({flag}?): {listed(joined)}"


def split_name(name: str, separator: str) -> list[str]:
    """Return the parts of a name, without the whitespace around them."""
    parts = map(str.strip, name.split(separator))
    return list(filter(None, parts))


def names_where(chosen: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the names whose flag in `chosen` is set."""
    return [names[index] for index in np.flatnonzero(chosen).tolist()]


def noun_for(classes: Sequence) -> str:
    """Return the noun for this many classes."""
    if len(classes) == 1:
        return "class"
    return "classes"


def listed(names: Sequence[str]) -> str:
    """Return the first names for a note."""
    first = ", ".join(map(show, names[:NAMED]))
    return first + and_more(names)


def and_more(items: Sequence) -> str:
    """Return how many items a note does not name."""
    hidden = len(items) - NAMED
    if hidden <= 0:
        return ""
    return f" and {hidden} more"


def show(name: str) -> str:
    """Return a name in quotes, not longer than a line."""
    if len(name) > LONG:
        name = f"{name[: LONG - 3]}..."
    return repr(name)
