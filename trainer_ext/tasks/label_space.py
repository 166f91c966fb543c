"""Which classes there are, in which order, and how they are written in a file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer_ext.errors import UserError

LONGEST_POSITION = 9
"""Digits of a class's position in a file; Python refuses to read a number of thousands."""
SHOWN = 12


@dataclass(frozen=True)
class LabelSpace:
    """Named classes and the raw value each has in a file, shared by every label column.

    Attributes:
        columns: label columns: one for single labels, one per aspect, target or 0/1 class otherwise.
        classes: names, in the order of the logits; none for regression, whose targets are the columns.
        values: what a file has for each class; equal to `classes` if it has the names themselves.
        separator: between the labels of a multi-label row that is written as text.
        flags: whether a multi-label row is a list of 0 and 1, one for each class, instead of its labels.
    """

    columns: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[str, ...]
    separator: str = field(default=",", kw_only=True)
    flags: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_distinct("class names", self.classes)
        check_distinct("class values", self.values)
        check_distinct("columns", self.columns)

    @classmethod
    def from_names(cls, columns: Sequence[str], label_names: Sequence[str]) -> "LabelSpace":
        """Return the space of `--label_names`.

        Args:
            columns: the label columns.
            label_names: `sports` (in files: the name, or its position), or `positive=1` (in files: 1).
        """
        with_value = ["=" in name for name in label_names]
        if any(with_value) and not all(with_value):
            raise UserError(
                f"label_names: give every class a value (name=value) or none: {list(label_names)}"
            )
        names = []
        values = []
        for name in label_names:
            if all(with_value):
                # At the last `=`: a name may hold one.
                name, value = name.rsplit("=", 1)
            else:
                value = name
            names.append(normalise(name))
            values.append(normalise(value))
        return cls(tuple(columns), tuple(names), tuple(values))

    @classmethod
    def from_values(cls, columns: Sequence[str], values: Iterable[Any]) -> "LabelSpace":
        """Return the space of the values seen in the training rows, sorted as numbers if all are, else as text."""
        # Sorted as text first, so that numbers of equal size (1 and 01) keep one order.
        ordered = sorted({normalise(value) for value in values})
        if all(map(is_number, ordered)):
            # As text, 10 comes before 2.
            ordered.sort(key=float)
        if len(ordered) < 2:
            raise UserError(f"label columns {list(columns)} hold one class only: {ordered}")
        return cls(tuple(columns), tuple(ordered), tuple(ordered))

    def encode(self, value: Any) -> int:
        """Return the class index of a raw value, a name, or (without values of their own) a position.

        Raises:
            KeyError: if it is none of these.
        """
        value = normalise(value)
        # Values first: with `no=1 1=2` a 1 in the file is a no.
        if value in self.values:
            return self.values.index(value)
        if value in self.classes:
            return self.classes.index(value)
        is_position = value.isdecimal() and len(value) <= LONGEST_POSITION
        if is_position and self.has_positions() and int(value) < len(self.classes):
            return int(value)
        raise KeyError(value)

    def has_positions(self) -> bool:
        """Return whether `2` may stand for the third class.

        It may not if classes have values, or are numbers themselves.
        """
        return self.values == self.classes and not any(map(is_number, self.classes))

    def holds(self, value: Any) -> bool:
        """Return whether a text, as it is, stands for one class."""
        if not isinstance(value, str):
            return False
        try:
            self.encode(value)
        except KeyError:
            return False
        return True

    def expected(self) -> str:
        """Return what a value may be, for error messages."""
        shown = ", ".join(self.values[:SHOWN])
        if len(self.values) > SHOWN:
            shown += ", ..."
        positions = f" or 0 to {len(self.classes) - 1}" if self.has_positions() else ""
        return f"one of {shown}{positions}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists as stored in a checkpoint's config; separator and flags only if they are set."""
        stored: dict[str, Any] = {
            "columns": list(self.columns),
            "classes": list(self.classes),
            "values": list(self.values),
        }
        if self.separator != ",":
            stored["separator"] = self.separator
        if self.flags:
            stored["flags"] = True
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "LabelSpace":
        """Return the inverse of `to_dict`."""
        values: dict[str, Any] = {}
        # JSON has no tuples, and the space has to be hashable.
        for key, value in stored.items():
            values[key] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


def check_distinct(what: str, items: Sequence[str]) -> None:
    """Raise `UserError` if an item occurs twice."""
    twice = {item for item in items if items.count(item) > 1}
    if twice:
        raise UserError(f"label_names: {what} must differ, but {sorted(twice)} occur twice")


def outputs_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the heads' outputs mean: a stored label space without what was counted (`neighbours`)."""
    return {key: value for key, value in stored.items() if key != "neighbours"}


def normalise(value: Any) -> str:
    """Return a label as text: stripped, and `1.0` as `1`."""
    text = str(value).strip()
    # pandas turns whole numbers into floats if their column has a gap.
    number = text.removesuffix(".0")
    if number != text and number.lstrip("-").isdecimal():
        return number
    return text


def is_number(text: str) -> bool:
    """Return whether a label is a decimal number: `3`, `-2`, `0.5`."""
    return text.removeprefix("-").replace(".", "", 1).isdecimal()
