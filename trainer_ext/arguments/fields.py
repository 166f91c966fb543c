"""How a flag is declared: a dataclass field whose metadata say what it takes.

The parser, `--help` and docs/flags.md all read the same metadata, so a range that is printed is one that is checked.
"""

from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from trainer_ext.errors import check_range

GROUP_NAME = "_argument_group_name"  # the attribute of a dataclass that names its flags in --help
DEFAULT_GROUP = "options"
BOUNDS = {"above": "above", "minimum": "at least", "maximum": "at most"}
TYPE_WORDS = {int: "integer", float: "number", str: "text", Path: "path", bool: "true or false"}


def option(default: Any = MISSING, help: str = "", **metadata: Any) -> Any:
    """Declare a flag.

    Args:
        default: its value if it is not given; left out: it must be given. A list is copied for each instance.
        help: one or two sentences; ranges, choices and the default are added by whoever prints it.
        metadata: `choices`; `minimum`, `maximum`, `above` (an excluded lower bound); `positional`; `nargs`, `action`
            and `metavar` as in argparse.
    """
    metadata = {"help": help, **metadata}
    # dataclasses refuse a list as a default, which all instances would share.
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


class FlagType(NamedTuple):
    """What one value of a flag is, and whether the flag takes several."""

    item: type
    many: bool


def flag_type(hint: Any) -> FlagType:
    """Read a type hint: `int`, `int | None`, `list[str]` or `list[str] | None`."""
    if get_origin(hint) in (Union, UnionType):
        # Which flags may be left out is said by their default; here None only stands in the way.
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is list:
        return FlagType(get_args(hint)[0], many=True)
    return FlagType(hint, many=False)


class Flag(NamedTuple):
    """One flag of a dataclass."""

    spec: Field[Any]
    type: FlagType

    @property
    def help(self) -> str:
        """Return its help text, without range and default."""
        return str(self.spec.metadata.get("help", ""))

    @property
    def choices(self) -> list[str]:
        """Return the words it takes; none if it takes any."""
        return [str(choice) for choice in self.spec.metadata.get("choices", ())]

    @property
    def is_positional(self) -> bool:
        """Tell whether its value stands without its name."""
        return bool(self.spec.metadata.get("positional"))


def is_required(spec: Field[Any]) -> bool:
    """Tell whether a flag has no default."""
    return spec.default is MISSING and spec.default_factory is MISSING


def default_of(spec: Field[Any]) -> Any:
    """Return the default of a flag; None if it has to be given."""
    if spec.default_factory is not MISSING:
        return spec.default_factory()
    if spec.default is MISSING:
        return None
    return spec.default


def flags_by_group(options: type) -> dict[str, list[Flag]]:
    """Return the flags of a dataclass by the subject under which `--help` shows them.

    A flag belongs to the subject of the class that declares it, so that a group that several commands inherit looks the
    same in all of them. The class's own flags come first, then its bases in the order they are written in.
    """
    hints = get_type_hints(options)
    # Not `init`: what a run works out for itself (split_seed) is not a flag.
    specs = {spec.name: spec for spec in fields(options) if spec.init}
    groups: dict[str, list[Flag]] = {}
    for owner in options.__mro__:
        title = getattr(owner, GROUP_NAME, DEFAULT_GROUP)
        for name in vars(owner).get("__annotations__", ()):
            # Taken out: a flag that a base declares, too, is shown once.
            spec = specs.pop(name, None)
            if spec is not None:
                groups.setdefault(title, []).append(Flag(spec, flag_type(hints[name])))
    return groups


def range_text(spec: Field[Any]) -> str:
    """Say which numbers a flag takes: `at least 0`, `above 0, at most 1`; empty if it takes all."""
    parts = []
    for key, words in BOUNDS.items():
        if key in spec.metadata:
            parts.append(f"{words} {spec.metadata[key]}")
    return ", ".join(parts)


def check_ranges(options: Any) -> None:
    """Check every number of an instance against the range that its field declares.

    Raises:
        UserError: naming the flag, its value and the range.
    """
    for spec in fields(options):
        if range_text(spec):
            for value in numbers_in(getattr(options, spec.name, None)):
                check_bounds(spec, value)


def numbers_in(value: Any) -> list[float]:
    """Return the numbers of a flag's value, which may be a list, a word such as `balanced`, or None."""
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, (int, float))]


def check_bounds(spec: Field[Any], value: float) -> None:
    """Raise `UserError` if a number is out of its flag's range."""
    metadata = spec.metadata
    high = metadata.get("maximum", float("inf"))
    if "above" in metadata:
        check_range(spec.name, value, metadata["above"], high, above=True)
    else:
        check_range(spec.name, value, metadata.get("minimum", float("-inf")), high)
