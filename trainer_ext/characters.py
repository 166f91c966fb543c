"""Characters that cannot be written, and those that would steer a terminal. Imports nothing."""

import re
from collections.abc import Mapping
from typing import Any

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Control characters (escape sequences begin with one), line ends of Unicode, and marks that turn the writing direction.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def broken_at(value: Any) -> int | None:
    """Return where the first text in a value has half of a surrogate pair, or None.

    Texts in lists and mappings are looked through as well: JSON may hold such escapes at any depth.
    """
    if isinstance(value, str):
        found = LONE_SURROGATE.search(value)
        return found.start() if found else None
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            place = broken_at(item)
            if place is not None:
                return place
    return None


def on_screen(text: Any) -> str:
    """Return a text as a terminal may show it: on one line, with what would steer it as its code."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def shorten(text: str, width: int = 60) -> str:
    """Return the start of a text on one line of at most `width` characters."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    return line[: width - 3] + "..."
