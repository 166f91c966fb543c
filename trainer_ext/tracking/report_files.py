"""The report of a run on W&B: the page, its pictures and its tables, under the names of their files."""

from pathlib import Path
from typing import Any

from trainer_ext.tracking.csv_tables import table_of
from trainer_ext.tracking.run import warn_if_it_fails

MOST_ROWS = 1000  # of a table: the files in the run's folder have all


def log_report(run: Any, folder: Path) -> None:
    """Log `report.html`, `plots/*.png`, `report/*.csv` and `suspects.csv` of a run's folder, those that are there.

    Args:
        run: the W&B run.
        folder: of the run.
    """
    with warn_if_it_fails(run, "the report"):
        media = report_media(folder)
        # An empty entry would count as a step.
        if media:
            run.log(media)


def report_media(folder: Path) -> dict[str, Any]:
    """Return page, pictures and tables by name."""
    import wandb

    media: dict[str, Any] = {}
    for path in sorted((folder / "plots").glob("*.png")):
        media[f"plots/{path.stem}"] = wandb.Image(str(path))
    for path in sorted([*(folder / "report").glob("*.csv"), *folder.glob("suspects.csv")]):
        # Of a file without any row there is no header either.
        if path.stat().st_size:
            media[f"report/{path.stem}"] = table_of(path, MOST_ROWS)
    page = folder / "report.html"
    if page.is_file():
        # As it is: what W&B would add is fetched from a server.
        media["report"] = wandb.Html(str(page), inject=False)
    return media
