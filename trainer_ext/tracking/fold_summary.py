"""What follows the folds on W&B: one run of `job_type=evaluate` with the summary and the out-of-fold predictions."""

import csv
import logging
import math
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.tracking.identity import identify
from trainer_ext.tracking.media import distinct
from trainer_ext.tracking.run import tracked_run, warn_if_it_fails

logger = logging.getLogger(__name__)

MOST_ROWS = 10_000
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
MOST_DIGITS = 17  # as many as a float keeps, and Python writes


def log_evaluation(args: Arguments, summary: Mapping[str, Any], predictions: Path) -> None:
    """Open a run `NAME-cv` in the group of the folds (or seeds), log what they are together, and close it.

    Does nothing if the run is not tracked; whatever goes wrong with W&B ends in a warning.

    Args:
        args: of the whole run; its output folder is that of all folds.
        summary: content of cv.json; numbers become `mean/mcrmse`, `oof/mcrmse`, `folds/fold-0/mcrmse`, ...
        predictions: oof.csv (validation.csv), whose first rows become the table `predictions`.
    """
    with tracked_run(args, "evaluate", f"{identify(args).run}-cv", goes_on=True) as run:
        if run is None:
            return
        run.summary.update(flat(summary))
        with warn_if_it_fails(run, "the table of predictions"):
            run.log({"predictions": table_of(predictions)})
    repeat_sync_commands(Path(args.training.output_dir))


def table_of(path: Path) -> Any:
    """Return the first rows of a csv file as a table of W&B."""
    import wandb

    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = islice(csv.reader(file), MOST_ROWS + 1)
    return wandb.Table(columns=distinct(header), data=typed(rows))


def repeat_sync_commands(folder: Path) -> None:
    """Log for each model what its train.log says last on how to upload its run; nobody reads those files."""
    for log in sorted(folder.glob("*/train.log")):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [line for line in lines if "`wandb sync " in line]
        if found:
            logger.info("%s: %s", log.parent.name, found[-1])


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """Return nested numbers under names joined by `/`."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}/")
        # Lists and texts have no place in a run's summary.
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[before + name] = value
    return found


def typed(rows: list[list[str]]) -> list[list[Any]]:
    """Return cells of a csv file as W&B's tables take them, one type a column: numbers if every cell is one, else text.

    A number is what JSON writes as one and keeps as it is: ids such as `007` or of twenty digits stay text.
    """
    columns: list[list[Any]] = []
    for cells in zip(*rows, strict=True):
        numbers = [as_number(cell) for cell in cells]
        # W&B refuses a table with two types in a column.
        columns.append(list(cells) if None in numbers else numbers)
    return [list(row) for row in zip(*columns, strict=True)]


def as_number(cell: str) -> float | None:
    """Return a cell as a number; None if it is not one, or would not be written again as it is."""
    if not NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    mantissa = re.split("[eE]", cell)[0]
    digits = re.sub(r"\D", "", mantissa).lstrip("0")
    if not math.isfinite(value) or len(digits) > MOST_DIGITS:
        return None
    return value
