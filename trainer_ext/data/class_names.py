"""Turn the class ids of a `datasets` column into class names."""

from collections.abc import Callable, Mapping
from typing import Any


def class_names(features: Mapping[str, Any]) -> dict[str, Callable[[int], str]]:
    """Return for each column of class ids, or of lists of them, the function from id to name."""
    names = {}
    for column, feature in features.items():
        # A list's feature is that of its items.
        item = getattr(feature, "feature", feature)
        if hasattr(item, "int2str"):
            names[column] = item.int2str
    return names


def named(value: Any, name_of: Callable[[int], str]) -> Any:
    """Return the name of an id, or the names of a list of ids; a hidden label (below zero) and None stay."""
    if isinstance(value, (list, tuple)):
        return [named(item, name_of) for item in value]
    if value is None or value < 0:
        return value
    return name_of(int(value))
