"""Which of several artifacts is best, and what they are called: the same rules for the local store and for W&B."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from trainer_ext.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
LONGEST = 128
FOLD = re.compile(r"(.*-fold-)\d+")
VERSION = re.compile(r"v\d+")


def is_better(
    new: Mapping[str, Any], old: Mapping[str, Any] | None, rows: str = "validation_hash"
) -> bool:
    """Whether `new` beats `old` by `metric_value`; what cannot be compared with it is beaten by any.

    Args:
        new: metadata with `metric_name`, `metric_value`, `greater_is_better` and `validation_hash`.
        old: the same of the best so far; None: there is none.
        rows: the key that says on which rows a value was measured: values on other rows, like those of another metric,
            are no worse and no better.
    """
    value, other = new.get("metric_value"), (old or {}).get("metric_value")
    if value is None or value != value:  # nan
        return False
    if old is None or other is None or other != other:
        return True
    if any(new.get(key) != old.get(key) for key in ("metric_name", rows)):
        return True
    return value > other if new.get("greater_is_better", True) else value < other


def best_of(versions: Iterable[Any], rows: str = "validation_hash") -> Any:
    """The one whose `.metadata` has the best value; the first of equals; None when none has a value."""
    best = None
    for version in versions:
        if is_better(version.metadata, best and best.metadata, rows):
            best = version
    return best


def artifact_name(text: str, suffix: str = "") -> str:
    """`text` and `suffix` as a name that W&B takes: letters, digits, `.`, `_` and `-`, at most 128.

    Where characters of `text` were replaced or cut off, a short hash of it tells it from others that would be called
    the same; the suffix, which says which fold or seed it is, is kept.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    room = LONGEST - len(suffix)
    if name != text or not name or len(name) > room:
        kept = name[: room - len(mark) - 1].rstrip("-.")
        name = f"{kept or 'model'}-{mark}"
    return name + suffix


def split_reference(reference: str) -> tuple[str, str]:
    """`NAME[:ALIAS]` as name and alias; without an alias `latest`.

    Raises:
        UserError: when it is not of that form.
    """
    name, colon, alias = reference.partition(":")
    if not NAME.fullmatch(name) or (colon and not alias) or re.search(r"[:/\s]", alias):
        raise UserError(
            f"artifact {reference!r} is not of the form NAME or NAME:ALIAS (ALIAS: latest, best, v0 ...)"
        )
    return name, alias or "latest"


def check_alias(alias: str) -> str:
    """The alias, or a `UserError` when it cannot be one."""
    if VERSION.fullmatch(alias) or not NAME.fullmatch(alias):
        raise UserError(
            f"alias {alias!r}: letters, digits, '.', '_' and '-' only, and not of the form v0"
        )
    return alias


def folds_beside(name: str, names: Iterable[str]) -> list[str]:
    """Those of the names that are folds of the same group, `name` included; none for what is no fold."""
    found = FOLD.fullmatch(name)
    if found is None:
        return []
    return [other for other in names if (match := FOLD.fullmatch(other)) and match[1] == found[1]]


def listed(names: Iterable[str]) -> str:
    """`"; there are a, b"`, or that there is nothing."""
    names = list(names)
    return (
        f"; there are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
        if names
        else "; it is empty"
    )
