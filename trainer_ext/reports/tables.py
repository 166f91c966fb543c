"""Tables on the screen."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate


def table(rows: Sequence[Sequence], headers: Sequence[str]) -> str:
    """A plain table; floats with four decimals, numbers to the right, wide (Chinese) characters counted as two."""
    cells = [[f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
    right = ["right" if rows and isinstance(cell, (int, float)) else "left" for cell in (rows[0] if rows else ())]
    return tabulate(cells, headers=headers, tablefmt="simple", disable_numparse=True, colalign=right or None)


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Validation and test side by side (`eval_x`, `test_x`), then what has no prefix; scores of single classes last."""
    prefixes = [prefix for prefix in ("eval_", "test_") if any(name.startswith(prefix) for name in metrics)]
    names = list(dict.fromkeys(name[5:] for name in metrics if name.startswith(tuple(prefixes))))
    names.sort(key=lambda name: name.startswith("f1_") and name not in ("f1_macro", "f1_micro"))
    scores = [[name, *(metrics.get(prefix + name, "") for prefix in prefixes)] for name in names]
    text = table(scores, ["metric", *({"eval_": "validation", "test_": "test"}[prefix] for prefix in prefixes)])
    rest = {name: value for name, value in metrics.items() if not name.startswith(tuple(prefixes))}
    others = ", ".join(f"{name} {value:g}" for name, value in rest.items())
    return "\n\n".join(part for part in (text if scores else "", others) if part)
