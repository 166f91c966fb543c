"""Characters that cannot be written, and those that would steer a terminal. Imports nothing."""

import re
from collections.abc import Mapping
from typing import Any

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Control characters (escape sequences begin with one), line ends of Unicode, and marks that turn the writing direction.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def broken_at(value: Any) -> int | None:
    """Where the first text in a value (also in lists and mappings) has half of a surrogate pair; None: nowhere."""
    if isinstance(value, str):
        found = LONE_SURROGATE.search(value)
        return found.start() if found else None
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return next((place for item in value if (place := broken_at(item)) is not None), None)
    return None


def on_screen(text: Any) -> str:
    """A text as a terminal may be given it: on one line, with what would steer it as its code."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))
