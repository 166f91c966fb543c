"""Train the runs of a sweep, each in a fresh process of this machine or of a cluster, and compare them at the end."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trainer_ext.arguments.first_pass import refuse_wrong_flags
from trainer_ext.arguments.launch import LauncherArguments, check_ray_flags, check_ray_installed
from trainer_ext.comparison.job import compare
from trainer_ext.comparison.sweep_file import Sweep, SweepRun
from trainer_ext.cross_validation.launchers.base import LOG, Job, Launcher
from trainer_ext.cross_validation.launchers.choose import open_ray
from trainer_ext.cross_validation.launchers.process import ProcessLauncher
from trainer_ext.cross_validation.progress import shown_progress
from trainer_ext.cross_validation.side_by_side import SideBySide
from trainer_ext.errors import RunError, UserError
from trainer_ext.files import check_folder, read_object, write_json
from trainer_ext.inference.members import LISTS
from trainer_ext.redaction import without_secrets
from trainer_ext.runs.output_dir import MARK, is_ours

RECORD = "sweep.json"
"""The command line of each run, by its name."""
TABLES = ("comparison.csv", "comparison.md", "comparison.png")
RESUME = ("--resume_from_checkpoint", "true")

logger = logging.getLogger(__name__)


def run_sweep(
    sweep: Sweep,
    folder: Path,
    more: Sequence[str],
    launch: LauncherArguments | None = None,
) -> None:
    """Train what is not finished, then print and write the comparison with the first run.

    Args:
        sweep: its runs.
        folder: each run has a folder of its own in it.
        more: words of the command line, which win over each run's own.
        launch: who trains them; None: processes of this machine, one after the other.

    Raises:
        UserError: for a run that train would refuse, before any is trained; for a folder of another sweep; if there is
            no cluster.
        RunError: at the end, when a run failed.
    """
    launch = launch or LauncherArguments()
    check_ray_flags(launch)
    runs = [SweepRun(run.name, [*run.words, *more]) for run in sweep.runs]
    check_folder("output_dir", folder)
    for run in runs:
        check_run(run, folder, launch)
    if launch.launcher == "ray":
        check_ray_installed("launcher ray")
    check_same_sweep(runs, folder)
    failed = train_runs(runs, folder, launch)
    finished = [folder / run.name for run in runs if run.name not in failed]
    if len(finished) > 1:
        compare(finished, [folder / name for name in TABLES])
    if failed:
        raise RunError(
            f"{', '.join(failed)} failed (see {folder}/NAME/{LOG}); {len(finished)} of {len(runs)} are finished and "
            "kept. Run the same command again: it trains only what is missing"
        )


def train_runs(runs: Sequence[SweepRun], folder: Path, launch: LauncherArguments) -> list[str]:
    """Train the runs that are not finished; return the names of those that failed."""
    jobs = {}
    for run in runs:
        if is_finished(folder / run.name):
            logger.info("%s: finished before, kept", run.name)
        else:
            jobs[run.name] = job_of(run, folder / run.name, launch)
    if not jobs:
        return []
    names = [run.name for run in runs]
    with open_launcher(launch) as launcher, shown_progress(folder, names):
        return SideBySide(launcher, lambda job: "finished").train(jobs)


@contextmanager
def open_launcher(launch: LauncherArguments) -> Iterator[Launcher]:
    """Yield what starts the runs: on a cluster as many at a time as have room there, else one after the other."""
    if launch.launcher == "ray":
        with open_ray(launch) as launcher:
            yield launcher
        return
    # It leaves GPUs to the runs: one with folds shares them out by itself.
    yield ProcessLauncher(1, use_cpu=True)


def job_of(run: SweepRun, folder: Path, launch: LauncherArguments) -> Job:
    """Return the training of a run, which goes on where it was cut off."""
    # A second try on another node has the same command line, and goes on with what the first has left.
    resuming = list(RESUME) if launch.launcher == "ray" else resuming_of(folder)
    # Last on the line, so that no flag of the run leads it elsewhere.
    last = ["--output_dir", str(folder), *resuming]
    return Job(("train", *run.words, *last), folder)


def check_run(run: SweepRun, folder: Path, launch: LauncherArguments) -> None:
    """Raise what train would say of a run's flags, with its name: not hours later, when its turn comes."""
    try:
        job = job_of(run, folder / run.name, launch)
        refuse_wrong_flags(job.words[1:])
    except UserError as error:
        raise UserError(f"run {run.name}: {error}") from error
    if launch.launcher == "ray" and "--launcher" in run.words:
        raise UserError(
            f"run {run.name}: launcher stands in its flags, and on the command line of the sweep, whose runs are "
            "trained there as they are: drop one"
        )


def check_same_sweep(runs: Sequence[SweepRun], folder: Path) -> None:
    """Record the command line of each run.

    Raises:
        UserError: if a run of the same name in this folder had another one.
    """
    before = read_object(folder / RECORD)
    # Keys and tokens are not written, and may change.
    now = {run.name: without_secrets(run.words) for run in runs}
    for name, words in now.items():
        if name in before and before[name] != words and is_begun(folder / name):
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


def is_begun(folder: Path) -> bool:
    """Return whether a run has left more there than a log that says why it was refused."""
    return is_ours(folder) or is_finished(folder)


def resuming_of(folder: Path) -> list[str]:
    """Return the flag by which a run that was cut off goes on; none for folds and seeds, which need none."""
    has_members = any((folder / name).is_file() for name in LISTS)
    if has_members or not (folder / MARK).is_file():
        return []
    return list(RESUME)
