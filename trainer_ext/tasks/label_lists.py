"""One cell of a multi-label column as a list: JSON, Python's and numpy's way to write one, text with a separator.

Columns of lists lose their type when a table is written as csv: pandas leaves `['a', 'b']`, numpy `['a' 'b']`. What
looks like such a list and cannot be read as one is refused, never taken as the name of a class.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.tasks.label_flags import are_flags
from trainer_ext.tasks.label_space import is_number, normalise

GAPS = frozenset({"nan", "NaN", "None", "<NA>", "NaT"})
"""How pandas and numpy write that a value is missing."""
PAIRS = {"[": "]", "(": ")", "{": "}"}
LONGEST_NUMBER = 40
"""Digits: no class has a longer name that is a number, and Python refuses to read those of thousands."""
BITS_A_DIGIT = 4  # rounded up
ITEM = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'",\[\](){}]+)(?=[\s\]]|$)""")

# What lists and arrays are called if they are written with their type: `array(['a'], dtype=object)`, `set()`.
WRAPPED = re.compile(
    r"(?:np\.)?(?:array|tensor|frozenset|set|Index)\(((?:[\[({].*[\])}])?)(?:, (?:dtype|device)=[^()]*)?\)",
    re.DOTALL,
)
# A number or text of numpy's among others: `np.float64(1.0)`, `np.str_('a')`.
SCALAR = re.compile(r"""\bnp\.\w+\(('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^()'"]*)\)""")

NOT_A_LIST = "looks like a list, but is not JSON, Python or numpy"


def labels_of(value: Any, separator: str) -> list[Any]:
    """Return the labels of one row, as they are written: items of a list, or parts of a text.

    Raises:
        UserError: for text that looks like a list and cannot be read, what is not a list of labels, and one twice.
    """
    items = as_list(value)
    if items is None:
        parts = list(parts_of(str(value).strip(), separator))
        # A name twice is the name, but `3,0,0` are counts, not class ids.
        if not are_flags(parts):
            check_repeats(list(filter(is_number, parts)))
        return parts
    for item in items:
        check_item(item, value)
    # Flags repeat by nature.
    if not are_flags(items):
        check_repeats(items)
    return items


def as_list(value: Any) -> list[Any] | None:
    """Return a list, also one that was written as text; None for text that is not one."""
    if isinstance(value, (list, tuple)):
        return list(value)
    # A set has another order in every process.
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, dict):
        raise UserError(f"expected a list of labels, got a mapping: {value!r:.80}")
    text = SCALAR.sub(r"\1", str(value).strip())
    wrapped = WRAPPED.fullmatch(text)
    if wrapped:
        return as_list(wrapped[1] or "[]")
    if text.startswith(("'", '"')):
        return python_list(text)
    closing = PAIRS.get(text[:1])
    if closing is None or not text.endswith(closing):
        return None
    items = written_list(text)
    # `(sic), (other)` are names.
    if items is None and text[0] != "(":
        raise UserError(f"{text!r:.80} {NOT_A_LIST}")
    return items


def written_list(text: str) -> list[Any] | None:
    """Return text in brackets as JSON, numpy or Python writes a list; None if it is none of them."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        # Not a list: a mapping in `{}`, which `as_list` refuses.
        return as_list(parsed)
    # numpy first: to Python, `['a' 'b']` is one text, 'ab'.
    items = numpy_list(text)
    if items is None:
        items = python_list(text)
    return items


def numpy_list(text: str) -> list[Any] | None:
    """Return the items of `['a' 'b']` or `[1. 0. 0.]`, with blanks between them; None for other text."""
    if text[0] != "[" or text[-1] != "]":
        return None
    inside = text[1:-1].rstrip()
    position = 0
    values = []
    while position < len(inside):
        found = ITEM.match(inside, position)
        # numpy leaves out the middle of long arrays: `...`.
        if found is None or found[1] == "...":
            return None
        value = python_value(found[1])
        if isinstance(value, Unreadable):
            return None
        values.append(value)
        position = found.end()
    return values


def python_list(text: str) -> list[Any] | None:
    """Return the items of `['a', 'b']`, `('a', 'b')`, `{'a', 'b'}` or `'a', 'b'`; None for other text."""
    value = python_value(text)
    if isinstance(value, dict):
        raise UserError(f"expected a list of labels, got a mapping: {text!r:.80}")
    if isinstance(value, (list, tuple, set)):
        return as_list(value)
    return None


class Unreadable:
    """What `python_value` gives for text that is not a value; None is one."""


def python_value(text: str) -> Any:
    """Return the value of a Python literal (numpy's numbers and `nan` too)."""
    if text == "nan":
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return Unreadable()


def check_item(item: Any, value: Any) -> None:
    """Raise `UserError` for an item that does not name a class: a gap, a list, a probability, a very long number."""
    # NaN is not equal to itself.
    is_gap = item is None or item != item
    if is_gap or (isinstance(item, str) and not item.strip()):
        raise UserError(f"the list {value!r:.80} has an item that is empty")
    if not isinstance(item, (str, int, float)):
        raise UserError(
            f"the list {value!r:.80} has a {type(item).__name__} inside; expected labels"
        )
    if isinstance(item, float) and not item.is_integer():
        raise UserError(
            f"the list {value!r:.80} has {item!r}; expected names, class ids, or flags that are 0 or 1"
        )
    if isinstance(item, int) and item.bit_length() > LONGEST_NUMBER * BITS_A_DIGIT:
        raise UserError(
            f"the list has a number of more than {LONGEST_NUMBER} digits; expected labels"
        )


def check_repeats(items: Sequence[Any]) -> None:
    """Raise `UserError` for a label that occurs in a list twice."""
    seen = set()
    for item in items:
        name = normalise(item)
        if name in seen:
            raise UserError(f"the list {list(items)!r:.80} has {name!r} more than once")
        seen.add(name)


def parts_of(text: str, separator: str) -> Iterator[str]:
    """Cut text at the separator.

    Raises:
        UserError: for parts that are pieces of a list which could not be read, and for gaps as pandas writes them.
    """
    if text in GAPS:
        raise UserError(
            f"{text!r} is how pandas and numpy write a missing value; leave the cell empty if a text has no labels "
            "(a class of this name is named by label_names)"
        )
    for part in text.split(separator):
        part = part.strip()
        if not part:
            continue
        bracket = part[0]
        # Brackets inside a name are paired: `[sic] other`.
        if bracket in PAIRS and part.count(bracket) > part.count(PAIRS[bracket]):
            raise UserError(f"{text!r:.80} {NOT_A_LIST}")
        yield part
