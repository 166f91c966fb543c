"""Tables of metrics on the screen."""

import re
from collections.abc import Mapping

from trainer_ext.characters import on_screen
from trainer_ext.tables import table

__all__ = ["code_span", "metrics_table", "table"]


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Validation and test side by side (`eval_x`, `test_x`), then what has no prefix; scores of single classes last."""
    prefixes = [
        prefix for prefix in ("eval_", "test_") if any(name.startswith(prefix) for name in metrics)
    ]
    names = list(dict.fromkeys(name[5:] for name in metrics if name.startswith(tuple(prefixes))))
    names.sort(key=lambda name: name.startswith("f1_") and name not in ("f1_macro", "f1_micro"))
    scores = [[name, *(metrics.get(prefix + name, "") for prefix in prefixes)] for name in names]
    text = table(
        scores,
        ["metric", *({"eval_": "validation", "test_": "test"}[prefix] for prefix in prefixes)],
    )
    rest = {name: value for name, value in metrics.items() if not name.startswith(tuple(prefixes))}
    others = ", ".join(
        f"{name} {value if isinstance(value, str) else f'{value:g}'}"
        for name, value in rest.items()
    )
    return "\n\n".join(part for part in (text if scores else "", others) if part)


def code_span(text: str) -> str:
    """A name from data in Markdown: as code, in which nothing is a tag, a link or a new line.

    A span is closed by as many backticks as opened it, so there is one more of them than the name has in a row.
    """
    line = on_screen(text)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"
