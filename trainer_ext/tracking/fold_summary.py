"""What follows the folds on W&B: one run of `job_type=evaluate` with the summary and the out-of-fold predictions."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.tracking.csv_tables import table_of
from trainer_ext.tracking.identity import identify
from trainer_ext.tracking.report_files import log_report
from trainer_ext.tracking.run import tracked_run, warn_if_it_fails

logger = logging.getLogger(__name__)


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
        log_report(run, Path(args.training.output_dir))
    repeat_sync_commands(Path(args.training.output_dir))


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
