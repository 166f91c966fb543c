"""How a search went: search.json, and the table on the screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from trainer_ext.search.study import IS_RECIPE
from trainer_ext.tables import table

REPORT = "search.json"
SHOWN = 5  # trials on the screen


def content_of(
    trials: Sequence[FrozenTrial],
    best: FrozenTrial,
    metric: str,
    scores: Mapping[int, Mapping[str, float]],
) -> dict[str, Any]:
    """Return the content of search.json.

    Args:
        trials: all, in order.
        best: the one with the best result.
        metric: that was compared, on the validation rows or out of fold.
        scores: of the completed ones, by number.
    """
    rows = []
    for trial in trials:
        row: dict[str, Any] = {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "params": trial.params,
            "is_recipe": trial.user_attrs.get(IS_RECIPE, False),
        }
        if trial.duration is not None:
            row["seconds"] = round(trial.duration.total_seconds(), 1)
        # The test rows have had no say in anything; what they say of each trial is only told afterwards.
        for name in (f"eval_{metric}", f"test_{metric}"):
            if name in scores.get(trial.number, {}):
                row[name] = scores[trial.number][name]
        rows.append(row)
    return {"metric": metric, "best": best.number, "trials": rows}


def print_result(content: Mapping[str, Any], folder: Path, recipe: Path) -> None:
    """Print the best trials beside the recipe itself, and where everything is."""
    metric = content["metric"]
    completed = [row for row in content["trials"] if row["state"] == "complete"]
    best_first = sorted(completed, key=lambda row: row["trial"] != content["best"])
    head = best_first[:1]
    others = [row for row in best_first[1:] if row["is_recipe"]]
    rest = [row for row in best_first[1:] if not row["is_recipe"]]
    shown = [*head, *others, *rest[: SHOWN - len(others) - 1]]
    columns = [f"eval_{metric}"]
    if any(f"test_{metric}" in row for row in completed):
        columns.append(f"test_{metric}")
    flags = list(shown[0]["params"])
    rows = []
    for row in shown:
        name = f"trial-{row['trial']}" + (" (the recipe)" if row["is_recipe"] else "")
        values = [row["params"][flag] for flag in flags]
        rows.append(
            [name, *(row.get(column, "") for column in columns), *map(shown_number, values)]
        )
    print(f"\n{table(rows, ['trial', *columns, *flags])}")
    states = [row["state"] for row in content["trials"]]
    print(
        f"\n{len(states)} trials: {states.count('complete')} completed, {states.count('pruned')} pruned, "
        f"{states.count('fail')} failed. The best recipe is {recipe}, its model in {folder / head_name(content)}; "
        "plots/ shows the search"
    )


def head_name(content: Mapping[str, Any]) -> str:
    """Return the folder of the best trial."""
    return f"trial-{content['best']}"


def shown_number(value: Any) -> str:
    """Return a value for the table: learning rates would be 0.0000 with four decimals."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
