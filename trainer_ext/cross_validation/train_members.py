"""Who trains folds or seeds: one fresh process for each, so that what one leaks or breaks does not reach the others."""

import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cores import available_cores
from trainer_ext.cross_validation.members import is_finished, member_flags, member_names
from trainer_ext.errors import RunError, UserError
from trainer_ext.files import read_json, write_text
from trainer_ext.processes import PARENT, environment_with_package
from trainer_ext.tasks import TASKS
from trainer_ext.tracking.artifacts.publish import put_if_missing

LOG = "train.log"
PATIENCE = 10  # seconds that a process has to end by itself

logger = logging.getLogger(__name__)


def train_members(args: Arguments) -> None:
    """Train what is not finished yet, `num_fold_workers` at a time; a crash of one leaves the others.

    Raises:
        RunError: at the end, when one failed, naming it and its log.
        UserError: as soon as one refuses its input, which the others would too.
    """
    folder, names = Path(args.training.output_dir), member_names(args)
    waiting = unfinished(args, folder, names)
    workers = max(1, min(args.folds.num_fold_workers, len(waiting)))
    processes: dict[str, subprocess.Popen] = {}
    stop = threading.Event()
    # As many environments as workers: whoever takes one has its GPU to itself until it puts it back.
    environments: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for gpu in shared_gpus(args.training.use_cpu, workers):
        environments.put(child_environment(workers, gpu))

    def train(name: str) -> int:
        environment = environments.get()
        try:
            if stop.is_set():
                return 1
            return train_one(args, name, environment, processes, stop)
        finally:
            environments.put(environment)

    with ThreadPoolExecutor(workers) as pool:
        try:
            statuses = list(pool.map(train, waiting))
        except BaseException:
            # Ctrl-C and SIGTERM too: children that go on would hold their folders, and the next start be refused.
            stop.set()
            end(processes.values())
            raise
    failed = [name for name, status in zip(waiting, statuses, strict=True) if status]
    if failed:
        logs = ", ".join(str(folder / name / LOG) for name in failed)
        raise RunError(
            f"{', '.join(failed)} failed (see {logs}); "
            f"{len(names) - len(failed)} of {len(names)} are finished and kept. "
            "Run the same command again: it trains only what is missing"
        )


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


def end(processes: Iterable[subprocess.Popen]) -> None:
    """End those that still run: first with a signal on which they clean up, then by force."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in running:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def train_one(
    args: Arguments,
    name: str,
    environment: Mapping[str, str],
    processes: dict[str, subprocess.Popen],
    stop: threading.Event,
) -> int:
    """Run `train.py` for one fold or seed, its output in its log; returns the exit status.

    Args:
        args: of all folds or seeds.
        name: of the one.
        environment: of its process.
        processes: holds the process while it runs.
        stop: is set when no other should start.

    Raises:
        UserError: for exit status 2, with the message of the child.
    """
    folder = Path(args.training.output_dir)
    log, start = folder / name / LOG, time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    logger.info("%s: training, log in %s", name, log)
    recipe = str(folder / "resolved_config.yaml")
    command = [sys.executable, "-m", "trainer_ext", recipe, *member_flags(name)]
    if args.training.hub_token:
        # Every user of the machine can list command lines, and the recipe is kept.
        environment = {**environment, "HF_TOKEN": args.training.hub_token}
    with open(log, "ab") as file:
        begin = file.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        processes[name] = process
        # It may have been set after it was looked at last, when this process was not in `processes` yet.
        if stop.is_set():
            process.terminate()
        status = process.wait()
    seconds = time.monotonic() - start
    if status == 2:
        stop.set()
        text = log.read_bytes()[begin:].decode("utf-8", "replace")
        raise UserError(f"{name}: {last_error(text)}")
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        message = "%s: FAILED (%s) after %.0f s; last lines of %s:\n%s"
        logger.error(message, name, how, seconds, log, last_lines(log))
        return status
    metric = TASKS[args.data.task].default_metric
    value = read_json(folder / name / "metrics.json")[f"eval_{metric}"]
    logger.info("%s: %s %.4f, %.0f s", name, metric, value, seconds)
    return 0


def shared_gpus(use_cpu: bool, workers: int) -> list[str | None]:
    """Return the GPU that the processes of each worker see, in turn; None without one."""
    gpus = [] if use_cpu else visible_gpus()
    if not gpus:
        return [None] * workers
    if len(gpus) > workers:
        message = "%d GPUs are visible; --num_fold_workers %d trains on all of them"
        logger.info(message, len(gpus), len(gpus))
    return [gpus[k % len(gpus)] for k in range(workers)]


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return [name.strip() for name in named.split(",")][:count]


def child_environment(workers: int, gpu: str | None = None) -> dict[str, str]:
    """Return the environment of a child, in which this package can be imported.

    Args:
        workers: processes that run at the same time and share this one's cores.
        gpu: the only one that the child sees; None leaves the choice to it.
    """
    environment = environment_with_package()
    environment["PYTHONUNBUFFERED"] = "1"
    environment[PARENT] = str(os.getpid())
    if workers > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // workers)))
    if gpu is not None:
        # With several visible GPUs the Trainer of each child would spread over all of them.
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return environment


def last_error(text: str) -> str:
    """Return the message of a command that ended with exit status 2."""
    found = [line for line in text.splitlines() if line.startswith("error: ")]
    if found:
        return found[-1].removeprefix("error: ")
    return "it refused its arguments: " + " ".join(text.split())[-300:]


def last_lines(log: Path, count: int = 12) -> str:
    """Return the end of a log, without the states of progress bars that were drawn over."""
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
    done = subprocess.run(
        command, env=child_environment(1), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode == 2:
        raise UserError(last_error(done.stderr))
    if done.returncode:
        write_text(log, done.stdout + done.stderr)
        raise RunError(
            f"{name} failed (see {log}); the models are kept. Run the same command again"
        )
    print(done.stdout, end="", flush=True)
