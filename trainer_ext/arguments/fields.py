"""How a flag is declared: a dataclass field whose metadata say what it takes.

The parser, `--help` and docs/flags.md all read the same metadata, so a range that is printed is one that is checked.
"""

from collections.abc import Sequence
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from trainer_ext.errors import check_range

GROUP_NAME = "_argument_group_name"  # the attribute of a dataclass that names its flags in --help
DEFAULT_GROUP = "options"
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
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is list:
        return FlagType(get_args(hint)[0], many=True)
    return FlagType(hint, many=False)


def is_required(spec: Field[Any]) -> bool:
    """Whether a flag has no default."""
    return spec.default is MISSING and spec.default_factory is MISSING


def default_of(spec: Field[Any]) -> Any:
    """Return the default of a flag; None if it has to be given."""
    if spec.default_factory is not MISSING:
        return spec.default_factory()
    return None if spec.default is MISSING else spec.default


class Flag(NamedTuple):
    """One flag of a dataclass."""

    spec: Field[Any]
    type: FlagType


def flags_by_group(options: type) -> dict[str, list[Flag]]:
    """Return the flags of a dataclass by the subject under which `--help` shows them.

    A flag belongs to the subject of the class that declares it, so that a group that several commands inherit looks the
    same in all of them. The class's own flags come first, then its bases in the order they are written in.
    """
    hints = get_type_hints(options)
    specs = {spec.name: spec for spec in fields(options) if spec.init}
    groups: dict[str, list[Flag]] = {}
    for owner in options.__mro__:
        title = getattr(owner, GROUP_NAME, DEFAULT_GROUP)
        for name in vars(owner).get("__annotations__", ()):
            spec = specs.pop(name, None)
            if spec is not None:
                groups.setdefault(title, []).append(Flag(spec, flag_type(hints[name])))
    return groups


def range_text(spec: Field[Any]) -> str:
    """Say which numbers a flag takes: `at least 0`, `above 0, at most 1`; empty if it takes all."""
    parts = []
    if "above" in spec.metadata:
        parts.append(f"above {spec.metadata['above']}")
    if "minimum" in spec.metadata:
        parts.append(f"at least {spec.metadata['minimum']}")
    if "maximum" in spec.metadata:
        parts.append(f"at most {spec.metadata['maximum']}")
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


def numbers_in(value: Any) -> Sequence[float]:
    """Return the numbers of a flag's value, which may be a list, a word such as `balanced`, or None."""
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, (int, float))]


def check_bounds(spec: Field[Any], value: float) -> None:
    """Raise `UserError` if a number is out of its flag's range."""
    above = "above" in spec.metadata
    low = spec.metadata["above"] if above else spec.metadata.get("minimum", float("-inf"))
    high = spec.metadata.get("maximum", float("inf"))
    check_range(spec.name, value, low, high, above=above)
