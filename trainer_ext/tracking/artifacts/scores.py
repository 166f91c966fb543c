"""Which of several artifacts is best, and what they are called: the same rules for the local store and for W&B."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from trainer_ext.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
LONGEST = 128
FOLD = re.compile(r"(.*-fold-)\d+")
VERSION = re.compile(r"v\d+")
MOST_LISTED = 20


class Scored(Protocol):
    """A version of the store, or an artifact of W&B."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metric among others; see `is_better`."""


ScoredType = TypeVar("ScoredType", bound=Scored)


def is_better(
    new: Mapping[str, Any],
    old: Mapping[str, Any] | None,
    rows: str = "validation_hash",
) -> bool:
    """Return whether `new` beats `old` by `metric_value`; it also beats what cannot be compared with it.

    Args:
        new: metadata with `metric_name`, `metric_value`, `greater_is_better` and `validation_hash`.
        old: the same of the best so far; None: it is the first.
        rows: the key that says on which rows a value was measured: values on other rows, like those of another metric,
            are neither worse nor better.
    """
    value = measured(new)
    if value is None:
        return False
    if old is None:
        return True
    other = measured(old)
    if other is None:
        return True
    # The newer one wins then: `best` must say something of the metric and the rows in use.
    for key in ("metric_name", rows):
        if new.get(key) != old.get(key):
            return True
    if new.get("greater_is_better", True):
        return value > other
    return value < other


def measured(metadata: Mapping[str, Any]) -> float | None:
    """Return the value of the metric; None if it was not measured or is not a number."""
    value = metadata.get("metric_value")
    # A server's metadata are a stranger's, perhaps: a text must not end the comparison.
    if not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return value


def best_of(versions: Iterable[ScoredType], rows: str = "validation_hash") -> ScoredType | None:
    """Return the one with the best value, the first of equals; None if none has a value."""
    best: ScoredType | None = None
    metadata = None
    for version in versions:
        if is_better(version.metadata, metadata, rows):
            best = version
            metadata = version.metadata
    return best


def artifact_name(text: str, suffix: str = "") -> str:
    """Return `text` and `suffix` as a name that W&B takes: letters, digits, `.`, `_` and `-`, at most 128.

    If characters of `text` are replaced or cut off, a short hash of it tells it from others that would be called the
    same; the suffix, which says which fold or seed it is, is kept.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    room = LONGEST - len(suffix)
    if not name or name != text or len(name) > room:
        # Half of a surrogate pair may stand in a folder's name, which UTF-8 does not take.
        mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        kept = name[: room - len(mark) - 1].rstrip("-.")
        name = f"{kept or 'model'}-{mark}"
    return name + suffix


def split_reference(reference: str) -> tuple[str, str]:
    """Return name and alias of `NAME[:ALIAS]`; the alias is `latest` if none is given.

    Raises:
        UserError: if it is not of that form.
    """
    name, colon, alias = reference.partition(":")
    lacks_alias = colon and not alias
    if not NAME.fullmatch(name) or lacks_alias or re.search(r"[:/\s]", alias):
        raise UserError(
            f"artifact {reference!r} is not of the form NAME or NAME:ALIAS (ALIAS: latest, best, v0 ...)"
        )
    return name, alias or "latest"


def check_alias(alias: str) -> str:
    """Return the alias.

    Raises:
        UserError: if it cannot be one.
    """
    if VERSION.fullmatch(alias) or not NAME.fullmatch(alias):
        raise UserError(
            f"alias {alias!r}: letters, digits, '.', '_' and '-' only, and not of the form v0"
        )
    return alias


def folds_beside(name: str, names: Iterable[str]) -> list[str]:
    """Return those of the names that are folds of the same group, `name` included; none if `name` is not a fold."""
    own = FOLD.fullmatch(name)
    if own is None:
        return []
    folds = []
    for other in names:
        match = FOLD.fullmatch(other)
        if match and match[1] == own[1]:
            folds.append(other)
    return folds


def listed(names: Iterable[str]) -> str:
    """Return what there is to choose from, as the end of a message."""
    names = list(names)
    if not names:
        return "; it is empty"
    more = ", ..." if len(names) > MOST_LISTED else ""
    return f"; there are {', '.join(names[:MOST_LISTED])}{more}"
