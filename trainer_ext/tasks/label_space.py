"""Which classes there are, in which order, and how they are written in a file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer_ext.errors import UserError

LONGEST_POSITION = 9  # digits; Python reads no number of thousands


@dataclass(frozen=True)
class LabelSpace:
    """Named classes and the raw value each has in a file, shared by every label column.

    Attributes:
        columns: label columns: one for single labels, one per aspect, target or 0/1 class otherwise.
        classes: names, in the order of the logits; none for regression, whose targets are the columns.
        values: what stands in a file for each class; equal to `classes` when the names themselves do.
        separator: between the labels of a multi-label row that is written as text.
        flags: whether a multi-label row is a list of 0 and 1, one for each class, instead of its labels.
    """

    columns: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[str, ...]
    separator: str = field(default=",", kw_only=True)
    flags: bool = field(default=False, kw_only=True)

    def __post_init__(self):
        for what, items in (
            ("class names", self.classes),
            ("class values", self.values),
            ("columns", self.columns),
        ):
            twice = {item for item in items if items.count(item) > 1}
            if twice:
                raise UserError(
                    f"label_names: {what} must differ, but {sorted(twice)} are there twice"
                )

    @classmethod
    def from_names(cls, columns: Sequence[str], label_names: Sequence[str]) -> "LabelSpace":
        """From `--label_names`: `sports` (in files: the name, or its position), or `positive=1` (in files: 1)."""
        with_value = ["=" in name for name in label_names]
        if any(with_value) and not all(with_value):
            raise UserError(
                f"label_names: give every class a value (name=value) or none: {list(label_names)}"
            )
        if all(with_value):
            pairs = [name.rsplit("=", 1) for name in label_names]
            return cls(
                tuple(columns),
                *(tuple(map(normalise, items)) for items in zip(*pairs, strict=True)),
            )
        names = tuple(map(normalise, label_names))
        return cls(tuple(columns), names, names)

    @classmethod
    def from_values(cls, columns: Sequence[str], values: Iterable[str]) -> "LabelSpace":
        """From the values seen in the training rows, sorted as numbers when all are, else as text."""
        ordered = sorted(
            {normalise(value) for value in values}
        )  # first as text: equal numbers keep one order
        if all(map(is_number, ordered)):
            ordered.sort(key=float)
        if len(ordered) < 2:
            raise UserError(f"label columns {list(columns)} hold one class only: {ordered}")
        return cls(tuple(columns), tuple(ordered), tuple(ordered))

    def encode(self, value: str) -> int:
        """The class index of a raw value, a name, or (without values of their own) a position.

        Raises:
            KeyError: when it is none of these.
        """
        value = normalise(value)
        for names in (self.values, self.classes):
            if value in names:
                return names.index(value)
        if self.has_positions() and value.isdecimal() and len(value) <= LONGEST_POSITION:
            position = int(value)
            if position < len(self.classes):
                return position
        raise KeyError(value)

    def has_positions(self) -> bool:
        """Whether `2` may stand for the third class: not where classes have values, or are numbers themselves."""
        return self.values == self.classes and not any(map(is_number, self.classes))

    def expected(self) -> str:
        """For error messages: what a value may be."""
        shown = ", ".join(self.values[:12]) + (", ..." if len(self.values) > 12 else "")
        positions = f" or 0 to {len(self.classes) - 1}" if self.has_positions() else ""
        return f"one of {shown}{positions}"

    def to_dict(self) -> dict:
        """Plain lists, as stored in a checkpoint's config; separator and flags only where they are not as usual."""
        stored: dict = {
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
    def from_dict(cls, stored: dict) -> "LabelSpace":
        """The inverse of `to_dict`."""
        return cls(
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in stored.items()
            }
        )


def outputs_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored label space without what was counted (`neighbours` of tags): what the heads' outputs stand for."""
    return {key: value for key, value in stored.items() if key != "neighbours"}


def normalise(value) -> str:
    """A label as text: stripped, and `1.0` (a CSV column that once held a gap) as `1`."""
    text = str(value).strip()
    number = text.removesuffix(".0")
    return number if number != text and number.lstrip("-").isdecimal() else text


def is_number(text: str) -> bool:
    """Whether a label is a decimal number: `3`, `-2`, `0.5`."""
    return text.removeprefix("-").replace(".", "", 1).isdecimal()
