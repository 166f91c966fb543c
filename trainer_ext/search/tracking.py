"""A search on W&B: one run with a table of its trials, its pictures and its best result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.tracking.identity import identify
from trainer_ext.tracking.run import tracked_run, warn_if_it_fails


def log_search(args: Arguments, content: Mapping[str, Any], pictures: Sequence[Path]) -> None:
    """Open a run, log the search, and close it; does nothing if the run is not tracked.

    Args:
        args: of the search.
        content: of search.json.
        pictures: that were drawn; one may be missing.
    """
    with tracked_run(args, "search", f"{identify(args).run}-search") as run:
        if run is None:
            return
        best = content["trials"][content["best"]]
        run.summary.update({"best_trial": content["best"], **numbers_of(best)})
        with warn_if_it_fails(run, "the table and the pictures of the search"):
            run.log({"trials": table_of(content), **images(pictures)})


def numbers_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of a trial, and its values."""
    values = {f"best/{name}": value for name, value in row["params"].items()}
    scores = {name: value for name, value in row.items() if name.startswith(("eval_", "test_"))}
    return {**scores, **values}


def table_of(content: Mapping[str, Any]) -> Any:
    """Return a row for each trial."""
    import wandb

    flags = list(content["trials"][0]["params"])
    score = f"eval_{content['metric']}"
    rows = []
    for row in content["trials"]:
        # As text: W&B takes one type a column, and a choice may be a word or a number.
        values = [str(row["params"].get(flag, "")) for flag in flags]
        rows.append([row["trial"], row["state"], row.get(score), *values])
    return wandb.Table(columns=["trial", "state", score, *flags], data=rows)


def images(pictures: Sequence[Path]) -> dict[str, Any]:
    """Return the pictures that are there, by name."""
    import wandb

    return {path.stem: wandb.Image(str(path)) for path in pictures if path.is_file()}
