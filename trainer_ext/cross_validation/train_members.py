"""Who trains folds or seeds: one fresh process for each, so that what one leaks or breaks does not reach the others."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.launchers.base import LOG, PROGRESS_FILE, Job
from trainer_ext.cross_validation.launchers.choose import open_launcher
from trainer_ext.cross_validation.launchers.process import child_environment
from trainer_ext.cross_validation.members import is_finished, member_flags, member_names
from trainer_ext.cross_validation.progress import shown_progress
from trainer_ext.cross_validation.side_by_side import SideBySide, last_error
from trainer_ext.errors import RunError, UserError
from trainer_ext.files import read_json, write_text
from trainer_ext.storage import Storage
from trainer_ext.tasks import TASKS
from trainer_ext.tracking.artifacts.publish import put_if_missing

# Variables by which the processes of torchrun know each other.
LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

logger = logging.getLogger(__name__)


def train_members(args: Arguments, storage: Storage | None = None) -> None:
    """Train what is not finished yet, as many at a time as the launcher has room for; a crash of one leaves the others.

    Args:
        args: of all.
        storage: the folder of all, if it is at a URL.

    Raises:
        RunError: at the end, when one failed, naming it and its log.
        UserError: as soon as one refuses its input, which the others would too; or if there is no cluster.
    """
    folder, names = Path(args.training.output_dir), member_names(args)
    waiting = unfinished(args, folder, names)
    if not waiting:
        return
    jobs = {name: job_of(args, name) for name in waiting}
    refresh = None
    if storage:
        jobs = {name: replace(job, storage=storage.url) for name, job in jobs.items()}
        refresh = partial(storage.pull, is_progress)
    with open_launcher(args, len(jobs)) as launcher, shown_progress(folder, names, refresh):
        failed = SideBySide(launcher, partial(score_of, args)).train(jobs)
    if failed:
        logs = ", ".join(str(folder / name / LOG) for name in failed)
        raise RunError(
            f"{', '.join(failed)} failed (see {logs}); "
            f"{len(names) - len(failed)} of {len(names)} are finished and kept. "
            "Run the same command again: it trains only what is missing"
        )


def is_progress(name: str) -> bool:
    """Return whether a file in the folder of all says how far a training is."""
    return name.endswith(f"/{PROGRESS_FILE}")


def unfinished(args: Arguments, folder: Path, names: Sequence[str]) -> list[str]:
    """Return the models that are still to be trained; the others are kept, and in the artifact store."""
    waiting = []
    for name in names:
        if is_finished(folder / name, args):
            logger.info("%s: finished before, kept", name)
            put_if_missing(args, name)
        else:
            waiting.append(name)
    return waiting


def job_of(args: Arguments, name: str) -> Job:
    """Return the training of one fold or seed."""
    folder = Path(args.training.output_dir)
    recipe = str(folder / "resolved_config.yaml")
    environment = {}
    if args.training.hub_token:
        # Every user of the machine can list command lines, and the recipe is kept.
        environment["HF_TOKEN"] = args.training.hub_token
    return Job((recipe, *member_flags(name)), folder / name, environment)


def score_of(args: Arguments, job: Job) -> str:
    """Return the task's metric of a finished model."""
    metric = TASKS[args.data.task].default_metric
    value = read_json(job.folder / "metrics.json")[f"eval_{metric}"]
    return f"{metric} {value:.4f}"


def run_command(name: str, arguments: Sequence[str], log: Path) -> None:
    """Run a command that loads models in a process of its own, so that this one stays small.

    Raises:
        UserError: for exit status 2, with its message.
        RunError: when it fails.
    """
    command = [sys.executable, "-m", "trainer_ext", name, *arguments]
    environment = child_environment(1)
    for variable in LAUNCH:
        # It would wait for the other processes of this one's launch.
        environment.pop(variable, None)
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode == 2:
        raise UserError(last_error(done.stderr))
    if done.returncode:
        write_text(log, done.stdout + done.stderr)
        raise RunError(
            f"{name} failed (see {log}); the models are kept. Run the same command again"
        )
    print(done.stdout, end="", flush=True)
