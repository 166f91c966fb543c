"""Labels that are written as flags: a 0 or 1 for each class, in columns of their own or in a list."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.tasks.label_space import normalise

FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1}
SHOWN = 5
# `1;0;0` or `1 0 0`: nobody calls a class so.
JOINED = re.compile(r"[01]([^\w.+-])[01](?:\1[01])*")


def flag_of(value: Any) -> int | None:
    """Return 0 or 1; None if a value is not a flag."""
    return FLAGS.get(normalise(value).lower())


def are_flags(items: Sequence[Any]) -> bool:
    """Return whether two or more labels of one row are all 0 or 1 (true or false)."""
    # A single 0 or 1 is the id of a class.
    if len(items) < 2:
        return False
    return all(flag_of(item) is not None for item in items)


def check_joined(names: Iterable[str]) -> None:
    """Raise `UserError` if every class is called like flags with a separator between them that did not cut them."""
    separators = set()
    for name in names:
        found = JOINED.fullmatch(name)
        if found is None:
            return
        separators.add(found[1])
    if len(separators) == 1:
        (separator,) = separators
        raise UserError(
            f"every label is made of 0 and 1 with {separator!r} between them, as {name!r}: --label_separator "
            f"{separator!r} reads them as flags, one for each class (classes of these names are named by label_names)"
        )


class ColumnShape:
    """What all lists of a column have in common: whether they are flags, one a class, or name the classes.

    Lists of 0 and 1 that all have one length, two or more, are flags: as class ids each row would have the same classes
    (or one of them twice). `[0]`, `[1]`, `[0, 1]` are ids.
    """

    def __init__(self) -> None:
        # Dictionaries, because they keep the order in which labels and lengths were seen.
        self.names: dict[str, None] = {}
        self.lengths: dict[int, None] = {}
        self.only_flags = True
        self.repeats = False

    def add(self, labels: Sequence[Any]) -> None:
        """Take in one row's labels; an empty list says nothing.

        Raises:
            UserError: for the row that makes the column neither flags nor labels.
        """
        if not labels:
            return
        names = [normalise(label) for label in labels]
        self.names.update(dict.fromkeys(names))
        self.lengths[len(names)] = None
        if not are_flags(names):
            self.only_flags = False
        elif len(set(names)) < len(names):
            # Class ids do not repeat, so these can only be flags.
            self.repeats = True
        if self.repeats and not (self.only_flags and len(self.lengths) == 1):
            seen = ", ".join(map(str, list(self.lengths)[:SHOWN]))
            raise UserError(
                f"the list {list(labels)!r:.80}: some lists of this column have 0 or 1 more than once, as flags of the "
                f"classes do, but then all must be of 0 and 1 and of one length (seen: {seen})"
            )

    def flags(self, classes: int | None = None) -> int:
        """Return how many flags each row has; 0 if the lists hold labels.

        Args:
            classes: as many as `label_names` gives; None: it gives none.

        Raises:
            UserError: for flags of another number of classes, and for text of flags that no separator has cut.
        """
        if classes is None:
            check_joined(self.names)
        if not self.only_flags or len(self.lengths) != 1:
            return 0
        (length,) = self.lengths
        if classes not in (None, length):
            raise UserError(
                f"every list has {length} values, all 0 or 1: flags of {length} classes, but label_names gives "
                f"{classes}"
            )
        return length
