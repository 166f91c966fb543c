"""Tables of metrics on the screen."""

from collections.abc import Mapping

from trainer_ext.tables import table


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Validation and test side by side (`eval_x`, `test_x`), then what has no prefix; scores of single classes last."""
    prefixes = [prefix for prefix in ("eval_", "test_") if any(name.startswith(prefix) for name in metrics)]
    names = list(dict.fromkeys(name[5:] for name in metrics if name.startswith(tuple(prefixes))))
    names.sort(key=lambda name: name.startswith("f1_") and name not in ("f1_macro", "f1_micro"))
    scores = [[name, *(metrics.get(prefix + name, "") for prefix in prefixes)] for name in names]
    text = table(scores, ["metric", *({"eval_": "validation", "test_": "test"}[prefix] for prefix in prefixes)])
    rest = {name: value for name, value in metrics.items() if not name.startswith(tuple(prefixes))}
    others = ", ".join(f"{name} {value if isinstance(value, str) else f'{value:g}'}" for name, value in rest.items())
    return "\n\n".join(part for part in (text if scores else "", others) if part)
