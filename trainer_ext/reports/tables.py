"""Tables of metrics on the screen, and names from data in Markdown."""

import re
from collections.abc import Mapping
from typing import Any

from trainer_ext.characters import on_screen
from trainer_ext.tables import table

__all__ = ["code_span", "is_of_one_class", "longest_run", "metrics_table", "table"]

SPLITS = {"eval_": "validation", "test_": "test"}


def metrics_table(metrics: Mapping[str, Any], headers: Mapping[str, str] = SPLITS) -> str:
    """Lay out the metrics of a run.

    Validation and test (`eval_x`, `test_x`) are side by side, scores of single classes last; below the table is what
    has no such prefix.

    Args:
        metrics: values by name.
        headers: of the columns, by the prefix of the names in it.
    """
    # A set that was not scored has no column.
    by_split: dict[str, dict[str, Any]] = {}
    others = []
    for full_name, value in metrics.items():
        prefix = full_name[:5]
        if prefix in headers:
            by_split.setdefault(prefix, {})[full_name[5:]] = value
        else:
            others.append(f"{full_name} {number_or_text(value)}")
    prefixes = [prefix for prefix in headers if prefix in by_split]
    names: dict[str, None] = {}  # a set that keeps the order
    for prefix in prefixes:
        names |= dict.fromkeys(by_split[prefix])
    rows = []
    for name in sorted(names, key=is_of_one_class):
        values = [by_split[prefix].get(name, "") for prefix in prefixes]
        rows.append([name, *values])
    parts = []
    if rows:
        shown = [headers[prefix] for prefix in prefixes]
        parts.append(table(rows, ["metric", *shown]))
    if others:
        parts.append(", ".join(others))
    return "\n\n".join(parts)


def number_or_text(value: Any) -> str:
    """Return a number without needless zeros, and a text as it is."""
    if isinstance(value, str):
        return value
    return f"{value:g}"


def is_of_one_class(metric: str) -> bool:
    """Return whether a metric (without `eval_`) is the F1 of one class or aspect, not a mean over them."""
    return metric.startswith("f1_") and metric not in ("f1_macro", "f1_micro")


def code_span(text: str) -> str:
    """Return a name from data as code in Markdown, so that nothing in it is a tag, a link or a new line."""
    line = on_screen(text)
    longest = longest_run("`", line)
    if not longest:
        return f"`{line}`"
    # A span is closed by as many backticks as opened it, so there must be one more than the name has in a row.
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}"


def longest_run(character: str, text: str) -> int:
    """Return how often a character stands in a row at most."""
    runs = re.findall(f"{re.escape(character)}+", text)
    return max(map(len, runs), default=0)
