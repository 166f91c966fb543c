"""Class ids of a `datasets` column as class names."""

from collections.abc import Callable, Mapping
from typing import Any


def class_names(features: Mapping[str, Any]) -> dict[str, Callable[[int], str]]:
    """From id to name, for each column of class ids, or of lists of them."""
    classes = {column: getattr(feature, "feature", feature) for column, feature in features.items()}
    return {
        column: feature.int2str
        for column, feature in classes.items()
        if hasattr(feature, "int2str")
    }


def named(value: Any, name_of: Callable[[int], str]) -> Any:
    """The name of an id, the names of a list of ids; below zero (a hidden label) and None stay as they are."""
    if isinstance(value, (list, tuple)):
        return [named(item, name_of) for item in value]
    return value if value is None or value < 0 else name_of(int(value))
