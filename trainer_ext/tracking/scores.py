"""Which of several artifacts is best, and what they are called: the same rules for the local store and for W&B."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from trainer_ext.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
VERSION = re.compile(r"v\d+")


def is_better(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> bool:
    """Whether `new` beats `old` by `metric_value`; what has no value, or one of another metric, is beaten by any.

    Args:
        new: metadata with `metric_name`, `metric_value` and `greater_is_better`.
        old: the same of the best so far; None: there is none.
    """
    value, other = new.get("metric_value"), (old or {}).get("metric_value")
    if value is None or value != value:  # nan
        return False
    if other is None or other != other or new.get("metric_name") != (old or {}).get("metric_name"):
        return True
    return value > other if new.get("greater_is_better", True) else value < other


def best_of(versions: Iterable[Any]) -> Any:
    """The one whose `.metadata` has the best value; the first of equals; None when none has a value."""
    best = None
    for version in versions:
        if is_better(version.metadata, best and best.metadata):
            best = version
    return best


def artifact_name(text: str) -> str:
    """`text` with what W&B does not allow in an artifact's name replaced by `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:128] or "model"


def split_reference(reference: str) -> tuple[str, str]:
    """`NAME[:ALIAS]` as name and alias; without an alias `latest`.

    Raises:
        UserError: when it is not of that form.
    """
    name, colon, alias = reference.partition(":")
    if not NAME.fullmatch(name) or (colon and not alias) or re.search(r"[:/\s]", alias):
        raise UserError(f"artifact {reference!r} is not of the form NAME or NAME:ALIAS (ALIAS: latest, best, v0 ...)")
    return name, alias or "latest"
