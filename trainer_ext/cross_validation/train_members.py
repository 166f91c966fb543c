"""Who trains folds or seeds: one fresh process for each, so that what one leaks or breaks does not reach the others."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.launchers.base import LOG, Job, Launcher, Training, end
from trainer_ext.cross_validation.launchers.choose import open_launcher
from trainer_ext.cross_validation.launchers.process import child_environment
from trainer_ext.cross_validation.members import is_finished, member_flags, member_names
from trainer_ext.cross_validation.progress import shown_progress
from trainer_ext.errors import RunError, UserError
from trainer_ext.files import read_json, write_text
from trainer_ext.tasks import TASKS
from trainer_ext.tracking.artifacts.publish import put_if_missing

# Variables by which the processes of torchrun know each other.
LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

logger = logging.getLogger(__name__)


def train_members(args: Arguments) -> None:
    """Train what is not finished yet, as many at a time as the launcher has room for; a crash of one leaves the others.

    Raises:
        RunError: at the end, when one failed, naming it and its log.
        UserError: as soon as one refuses its input, which the others would too; or if there is no cluster.
    """
    folder, names = Path(args.training.output_dir), member_names(args)
    waiting = unfinished(args, folder, names)
    if not waiting:
        return
    with open_launcher(args, len(waiting)) as launcher, shown_progress(folder, names):
        statuses = train_all(args, waiting, launcher)
    failed = [name for name, status in zip(waiting, statuses, strict=True) if status]
    if failed:
        logs = ", ".join(str(folder / name / LOG) for name in failed)
        raise RunError(
            f"{', '.join(failed)} failed (see {logs}); "
            f"{len(names) - len(failed)} of {len(names)} are finished and kept. "
            "Run the same command again: it trains only what is missing"
        )


def train_all(args: Arguments, waiting: Sequence[str], launcher: Launcher) -> list[int]:
    """Train models by their names; return the exit status of each."""
    running: dict[str, Training] = {}
    stop = threading.Event()

    def train(name: str) -> int:
        if stop.is_set():
            return 1
        return train_one(args, name, launcher, running, stop)

    with ThreadPoolExecutor(min(launcher.slots, len(waiting))) as pool:
        try:
            return list(pool.map(train, waiting))
        except BaseException:
            # Ctrl-C and SIGTERM too: children that go on would hold their folders, and the next start be refused.
            stop.set()
            end(running.values())
            raise


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


def train_one(
    args: Arguments,
    name: str,
    launcher: Launcher,
    running: dict[str, Training],
    stop: threading.Event,
) -> int:
    """Run `train.py` for one fold or seed, its output in its log; returns the exit status.

    Args:
        args: of all folds or seeds.
        name: of the one.
        launcher: starts it.
        running: holds the training while it runs.
        stop: is set when no other should start.

    Raises:
        UserError: for exit status 2, with the message of the child.
    """
    job = job_of(args, name)
    start = time.monotonic()
    logger.info("%s: training, log in %s", name, job.log)
    begin = size_of(job.log)
    with launcher.start(job) as training:
        running[name] = training
        # It may have been set after it was looked at last, when this training was not in `running` yet.
        if stop.is_set():
            training.terminate()
        status = training.wait()
    seconds = time.monotonic() - start
    if status == 2:
        stop.set()
        raise UserError(f"{name}: {error_in(job.log, begin)}")
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        message = "%s: FAILED (%s) after %.0f s; last lines of %s:\n%s"
        logger.error(message, name, how, seconds, job.log, last_lines(job.log))
        return status
    metric = TASKS[args.data.task].default_metric
    value = read_json(job.folder / "metrics.json")[f"eval_{metric}"]
    logger.info("%s: %s %.4f, %.0f s", name, metric, value, seconds)
    return 0


def job_of(args: Arguments, name: str) -> Job:
    """Return the training of one fold or seed."""
    folder = Path(args.training.output_dir)
    recipe = str(folder / "resolved_config.yaml")
    environment = {}
    if args.training.hub_token:
        # Every user of the machine can list command lines, and the recipe is kept.
        environment["HF_TOKEN"] = args.training.hub_token
    return Job((recipe, *member_flags(name)), folder / name, environment)


def size_of(log: Path) -> int:
    """Return where the next line of a log will begin."""
    return log.stat().st_size if log.exists() else 0


def error_in(log: Path, begin: int) -> str:
    """Return the message of a command that ended with exit status 2, from where its part of the log begins."""
    return last_error(log.read_bytes()[begin:].decode("utf-8", "replace"))


def last_error(text: str) -> str:
    """Return the message of a command that ended with exit status 2."""
    found = [line for line in text.splitlines() if line.startswith("error: ")]
    if found:
        return found[-1].removeprefix("error: ")
    return "it refused its arguments: " + " ".join(text.split())[-300:]


def last_lines(log: Path, count: int = 12) -> str:
    """Return the end of a log, without the states of progress bars that were drawn over."""
    if not log.exists():
        return "  (there is no log: it was not started)"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.rpartition("\r")[2] for line in lines[-count:]]
    return "\n".join(f"  {line}" for line in lines)


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
