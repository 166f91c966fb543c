"""One cell of a multi-label column as a list: JSON, Python's and numpy's way to write one, text with a separator.

Columns of lists lose their type when a table is written as csv: pandas leaves `['a', 'b']`, numpy `['a' 'b']`. What
looks like such a list and cannot be read as one is refused, never taken as the name of a class.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.tasks.label_space import normalise

GAPS = frozenset({"nan", "NaN", "None", "<NA>", "NaT"})
"""How pandas and numpy write that a value is missing."""
FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1}
PAIRS = {"[": "]", "(": ")", "{": "}"}
LONGEST_NUMBER = (
    40  # digits: no class has a longer name that is a number, and Python refuses those of thousands
)
ITEM = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'",\[\](){}]+)(?=[\s\]]|$)""")

# What lists and arrays are called where they are written with their type: `array(['a'], dtype=object)`, `set()`.
WRAPPED = re.compile(
    r"(?:np\.)?(?:array|tensor|frozenset|set|Index)\(((?:[\[({].*[\])}])?)(?:, (?:dtype|device)=[^()]*)?\)",
    re.DOTALL,
)
# A number or text of numpy's among others: `np.float64(1.0)`, `np.str_('a')`.
SCALAR = re.compile(r"""\bnp\.\w+\(('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^()'"]*)\)""")


def labels_of(value: Any, separator: str) -> list:
    """The labels of one row, as they stand there: items of a list, or parts of a text.

    Raises:
        UserError: for text that looks like a list and cannot be read, and for what no list of labels is.
    """
    items = as_list(value)
    if items is None:
        return list(parts_of(str(value).strip(), separator))
    for item in items:
        check_item(item, value)
    if not are_flags(items):
        check_repeats(items)
    return items


def as_list(value: Any) -> list | None:
    """A list, also one that was written as text; None for text that is none."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, dict):
        raise UserError(f"expected a list of labels, got a mapping: {value!r:.80}")
    text = SCALAR.sub(r"\1", str(value).strip())
    wrapped = WRAPPED.fullmatch(text)
    if wrapped:
        return as_list(wrapped[1] or "[]")
    closing = PAIRS.get(text[:1])
    if closing is None:
        return python_list(text) if text[:1] in ("'", '"') else None
    if text.endswith(closing):
        items = written_list(text)
        if items is not None:
            return items
        if text[0] != "(":  # `(sic), (other)` are names
            raise UserError(f"{text!r:.80} looks like a list, but is none of JSON, Python or numpy")
    return None


def written_list(text: str) -> list | None:
    """Text in brackets as JSON, numpy or Python writes a list; None when it is none of them."""
    try:
        items = json.loads(text)
        return items if isinstance(items, list) else as_list(items)
    except (ValueError, RecursionError):
        pass
    items = numpy_list(text)
    return python_list(text) if items is None else items


def numpy_list(text: str) -> list | None:
    """`['a' 'b']`, `[1. 0. 0.]`: items with blanks between them."""
    if text[0] != "[" or text[-1] != "]":
        return None
    inside, position, items = text[1:-1].rstrip(), 0, []
    while position < len(inside):
        found = ITEM.match(inside, position)
        if found is None or found[1] == "...":  # numpy leaves out the middle of long arrays
            return None
        items.append(found[1])
        position = found.end()
    values = [python_value(item) for item in items]
    return None if any(isinstance(value, Unreadable) for value in values) else values


def python_list(text: str) -> list | None:
    """`['a', 'b']`, `('a', 'b')`, `{'a', 'b'}` or `'a', 'b'`; None when it is none of them."""
    value = python_value(text)
    if isinstance(value, dict):
        raise UserError(f"expected a list of labels, got a mapping: {text!r:.80}")
    return as_list(value) if isinstance(value, (list, tuple, set)) else None


class Unreadable:
    """What `python_value` gives for text that is no value."""


def python_value(text: str) -> Any:
    """The value of a Python literal (numpy's numbers and `nan` too)."""
    if text == "nan":
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return Unreadable()


def check_item(item: Any, value: Any) -> None:
    """Raise `UserError` for an item that names no class: a gap, a list, a probability, a number of many digits."""
    if item is None or item != item or (isinstance(item, str) and not item.strip()):
        raise UserError(f"the list {value!r:.80} has an item that is empty")
    if not isinstance(item, (str, int, float)):
        raise UserError(
            f"the list {value!r:.80} has a {type(item).__name__} inside; expected labels"
        )
    if isinstance(item, float) and not item.is_integer():
        raise UserError(
            f"the list {value!r:.80} has {item!r}; expected names, class ids, or flags that are 0 or 1"
        )
    if isinstance(item, int) and item.bit_length() > LONGEST_NUMBER * 4:
        raise UserError(
            f"the list has a number of more than {LONGEST_NUMBER} digits; expected labels"
        )


def check_repeats(items: Sequence[Any]) -> None:
    """Raise `UserError` for a label that stands in a list twice."""
    names = [normalise(item) for item in items]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"the list {list(items)!r:.80} has {twice!r} more than once")


def parts_of(text: str, separator: str) -> Iterator[str]:
    """Text cut at the separator.

    Raises:
        UserError: for parts that are pieces of a list which could not be read, and for gaps as pandas writes them.
    """
    if text in GAPS:
        raise UserError(
            f"{text!r} is how pandas and numpy write a missing value; leave the cell empty where a text has no labels "
            "(a class of this name is named by label_names)"
        )
    for part in filter(None, map(str.strip, text.split(separator))):
        opening = part[0] if part[0] in PAIRS else ""
        if opening and part.count(opening) > part.count(PAIRS[opening]):
            raise UserError(f"{text!r:.80} looks like a list, but is none of JSON, Python or numpy")
        yield part


def are_flags(items: Sequence[Any]) -> bool:
    """Whether two or more labels of one row are all 0 or 1 (true or false)."""
    return len(items) > 1 and all(normalise(item).lower() in FLAGS for item in items)


class ColumnShape:
    """What all lists of a column have in common: whether they are flags, one a class, or name the classes.

    Lists of 0 and 1 that all have one length, two or more, are flags: as class ids each row would have the same classes
    (or one of them twice). `[0]`, `[1]`, `[0, 1]` are ids.
    """

    def __init__(self):
        self.names: dict[str, None] = {}
        self.lengths: dict[int, None] = {}
        self.only_flags = True
        self.repeats = False

    def add(self, labels: Sequence[Any]) -> None:
        """One row's labels; an empty list says nothing.

        Raises:
            UserError: for the row that makes the column neither flags nor labels.
        """
        if not labels:
            return
        names = [normalise(label) for label in labels]
        self.names.update(dict.fromkeys(names))
        self.lengths[len(names)] = None
        self.only_flags = self.only_flags and are_flags(names)
        self.repeats = self.repeats or (are_flags(names) and len(set(names)) < len(names))
        if self.repeats and not (self.only_flags and len(self.lengths) == 1):
            raise UserError(
                f"the list {list(labels)!r:.80}: some lists of this column have 0 or 1 more than once, as flags of the "
                f"classes do, but then all must be of 0 and 1 and of one length (seen: {listed(self.lengths)})"
            )

    def flags(self, classes: int | None = None) -> int:
        """How many flags each row has; 0 where the lists hold labels.

        Args:
            classes: as many as `label_names` gives; None: it gives none.

        Raises:
            UserError: for flags of another number of classes.
        """
        if not self.only_flags or len(self.lengths) != 1:
            return 0
        (length,) = self.lengths
        if classes not in (None, length):
            raise UserError(
                f"every list has {length} values, all 0 or 1: flags of {length} classes, but label_names gives "
                f"{classes}"
            )
        return length


def listed(lengths: Iterable[int]) -> str:
    """The first lengths, for messages."""
    return ", ".join(map(str, list(lengths)[:5]))
