"""What follows the folds on W&B: one run of `job_type=evaluate` with the summary and the out-of-fold predictions."""

import csv
import math
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.tracking.identity import identify
from trainer_ext.tracking.media import distinct
from trainer_ext.tracking.run import tracked_run, unharmed

MOST_ROWS = 10_000
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
MOST_DIGITS = 17  # as many as a float keeps, and Python writes


def log_evaluation(args: Arguments, summary: Mapping[str, Any], predictions: Path) -> None:
    """Open a run `NAME-cv` in the group of the folds (or seeds), log what they are together, and close it.

    Does nothing when the run is not tracked; whatever goes wrong with W&B ends in a printed line.

    Args:
        args: of the whole run; its output folder is that of all folds.
        summary: content of cv.json; numbers become `mean/mcrmse`, `oof/mcrmse`, `folds/fold-0/mcrmse`, ...
        predictions: oof.csv (validation.csv), whose first rows become the table `predictions`.
    """
    with tracked_run(args, "evaluate", f"{identify(args).run}-cv", goes_on=True) as run:
        if run is None:
            return
        import wandb

        run.summary.update(flat(summary))
        with (
            unharmed(run, "the table of predictions"),
            open(predictions, encoding="utf-8", newline="") as file,
        ):
            header, *rows = islice(csv.reader(file), MOST_ROWS + 1)
            run.log({"predictions": wandb.Table(columns=distinct(header), data=typed(rows))})
    for log in sorted(Path(args.training.output_dir).glob("*/train.log")):
        left = [
            line
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
            if "`wandb sync " in line
        ]
        if left:
            print(f"{log.parent.name}: {left[-1]}")


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """Nested numbers under names joined by `/`."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[before + name] = value
    return found


def typed(rows: list[list[str]]) -> list[list[Any]]:
    """Cells of a csv file as W&B's tables take them, one type a column: numbers where every cell is one, else texts.

    A number is what JSON writes as one and keeps as it is: ids such as `007` or of twenty digits stay texts.
    """
    columns = []
    for cells in zip(*rows, strict=True):
        numbers = [as_number(cell) for cell in cells]
        columns.append(cells if None in numbers else numbers)
    return [list(row) for row in zip(*columns, strict=True)]


def as_number(cell: str) -> float | None:
    """A cell as a number; None when it is none, or would not be written again as it is."""
    if not NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    digits = len(re.sub(r"[eE].*|\D", "", cell).lstrip("0"))
    return value if math.isfinite(value) and digits <= MOST_DIGITS else None
