"""Train the runs of a sweep one after the other, each in a fresh process, and compare them at the end."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from trainer_ext.arguments.first_pass import refuse_wrong_flags
from trainer_ext.comparison.job import compare
from trainer_ext.comparison.sweep_file import Sweep, SweepRun
from trainer_ext.cross_validation.launchers.base import end
from trainer_ext.cross_validation.launchers.process import child_environment, open_logged
from trainer_ext.cross_validation.train_members import error_in, last_lines, size_of
from trainer_ext.errors import RunError, UserError
from trainer_ext.files import check_folder, read_object, write_json
from trainer_ext.inference.members import LISTS
from trainer_ext.redaction import without_secrets
from trainer_ext.runs.output_dir import MARK

RECORD = "sweep.json"
"""The command line of each run, by its name."""
TABLES = ("comparison.csv", "comparison.md", "comparison.png")

logger = logging.getLogger(__name__)


def run_sweep(sweep: Sweep, folder: Path, more: Sequence[str]) -> None:
    """Train what is not finished, then print and write the comparison with the first run.

    Args:
        sweep: its runs.
        folder: each run has a folder of its own in it.
        more: words of the command line, which win over each run's own.

    Raises:
        UserError: for a run that train would refuse, before any is trained; for a folder of another sweep.
        RunError: at the end, when a run failed.
    """
    runs = [SweepRun(run.name, [*run.words, *more]) for run in sweep.runs]
    check_folder("output_dir", folder)
    for run in runs:
        check_run(run, folder)
    check_same_sweep(runs, folder)
    failed = []
    for number, run in enumerate(runs, 1):
        if is_finished(folder / run.name):
            logger.info("%s: finished before, kept", run.name)
            continue
        logger.info("%s: training, run %d of %d", run.name, number, len(runs))
        # A crash of one costs one run: the others are trained all the same.
        if train(run, folder):
            failed.append(run.name)
    finished = [folder / run.name for run in runs if run.name not in failed]
    if len(finished) > 1:
        compare(finished, [folder / name for name in TABLES])
    if failed:
        raise RunError(
            f"{', '.join(failed)} failed (see {folder}/NAME.log); {len(finished)} of {len(runs)} are finished and "
            "kept. Run the same command again: it trains only what is missing"
        )


def check_run(run: SweepRun, folder: Path) -> None:
    """Raise what train would say of a run's flags, with its name: not hours later, when its turn comes."""
    try:
        refuse_wrong_flags([*run.words, "--output_dir", str(folder / run.name)])
    except UserError as error:
        raise UserError(f"run {run.name}: {error}") from error


def check_same_sweep(runs: Sequence[SweepRun], folder: Path) -> None:
    """Record the command line of each run.

    Raises:
        UserError: if a run of the same name in this folder had another one.
    """
    before = read_object(folder / RECORD)
    # Keys and tokens are not written, and may change.
    now = {run.name: without_secrets(run.words) for run in runs}
    for name, words in now.items():
        if name in before and before[name] != words and (folder / name).exists():
            raise UserError(
                f"{folder / name} is of another run, `{' '.join(before[name])}`; now it would be `{' '.join(words)}`. "
                "Give another output_dir, or remove that folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    # Runs of before that are not part of the sweep any more stay in their folders.
    write_json(folder / RECORD, {**before, **now})


def is_finished(folder: Path) -> bool:
    """Return whether a run is complete: both files are the last to be written."""
    if any((folder / name).is_file() for name in LISTS):
        return (folder / "cv.json").is_file()
    return (folder / "metrics.json").is_file()


def train(run: SweepRun, folder: Path) -> int:
    """Train one run, or go on with it where it was cut off, its output in NAME.log; return its exit status.

    Raises:
        UserError: for exit status 2, with the run's message: the others would be refused as well.
    """
    log, start = folder / f"{run.name}.log", time.monotonic()
    # Last on the line, so that no flag of the run leads it elsewhere.
    last = ["--output_dir", str(folder / run.name), *resuming(folder / run.name)]
    begin = size_of(log)
    with open_logged(["train", *run.words, *last], log, child_environment(1)) as process:
        try:
            status = process.wait()
        except BaseException:
            # Ctrl-C too: a child that goes on would hold its folder.
            end([process])
            raise
    if status == 2:
        raise UserError(f"run {run.name}: {error_in(log, begin)}")
    if status:
        message = "%s: FAILED (exit status %d); last lines of %s:\n%s"
        logger.error(message, run.name, status, log, last_lines(log))
        return status
    logger.info("%s: finished, %.0f s", run.name, time.monotonic() - start)
    return 0


def resuming(folder: Path) -> list[str]:
    """Return the flag by which a run that was cut off goes on; none for folds and seeds, which need none."""
    has_members = any((folder / name).is_file() for name in LISTS)
    if has_members or not (folder / MARK).is_file():
        return []
    return ["--resume_from_checkpoint", "true"]
