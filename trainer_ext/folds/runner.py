"""Trains folds or seeds, each in a fresh process: what one leaks or breaks, the others do not see."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import trainer_ext
from trainer_ext.arguments import Arguments
from trainer_ext.errors import RunError, UserError
from trainer_ext.files import read_json, write_text
from trainer_ext.folds.members import is_finished, member_flags, member_names
from trainer_ext.inference.session import available_cores
from trainer_ext.tasks import TASKS
from trainer_ext.tracking.publish import put_if_missing

LOG = "train.log"


def train_members(args: Arguments) -> None:
    """Train what is not finished yet, `num_fold_workers` at a time; a crash of one leaves the others.

    Raises:
        RunError: at the end, when one failed, naming it and its log.
        UserError: as soon as one refuses its input, which the others would too.
    """
    folder, names = Path(args.training.output_dir), member_names(args)
    waiting = []
    for name in names:
        if is_finished(folder / name, args):
            print(f"{name}: finished before, kept", flush=True)
            put_if_missing(args, name)
        else:
            waiting.append(name)
    workers = max(1, min(args.folds.num_fold_workers, len(waiting)))
    processes: dict[str, subprocess.Popen] = {}
    stop = threading.Event()

    def train(name: str) -> int:
        return 1 if stop.is_set() else train_one(args, name, workers, processes, stop)

    with ThreadPoolExecutor(workers) as pool:
        try:
            results = list(pool.map(train, waiting))
        except BaseException:
            stop.set()
            for process in processes.values():
                if process.poll() is None:
                    process.terminate()
            raise
    failed = [name for name, status in zip(waiting, results, strict=True) if status]
    if failed:
        logs = ", ".join(str(folder / name / LOG) for name in failed)
        raise RunError(
            f"{', '.join(failed)} failed (see {logs}); "
            f"{len(names) - len(failed)} of {len(names)} are finished and kept. "
            "Run the same command again: it trains only what is missing"
        )


def train_one(
    args: Arguments, name: str, workers: int, processes: dict[str, subprocess.Popen], stop: threading.Event
) -> int:
    """Run `train.py` for one fold or seed, its output in its log; returns the exit status.

    It is in `processes` while it runs; `stop` is set when no other should start.

    Raises:
        UserError: for exit status 2, with the message of the child.
    """
    folder = Path(args.training.output_dir)
    log, start = folder / name / LOG, time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{name}: training, log in {log}", flush=True)
    command = [sys.executable, "-m", "trainer_ext", str(folder / "resolved_config.yaml"), *member_flags(name)]
    environment = child_environment(workers)
    if args.training.hub_token:  # neither its command line nor a file may hold it
        environment["HF_TOKEN"] = args.training.hub_token
    with open(log, "ab") as file:
        begin = file.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        processes[name] = process
        status = process.wait()
    seconds = time.monotonic() - start
    if status == 2:
        stop.set()
        text = log.read_bytes()[begin:].decode("utf-8", "replace")
        raise UserError(f"{name}: {last_error(text)}")
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        print(f"{name}: FAILED ({how}) after {seconds:.0f} s; last lines of {log}:", file=sys.stderr)
        print(last_lines(log), file=sys.stderr, flush=True)
        return status
    metric = TASKS[args.data.task].default_metric
    value = read_json(folder / name / "metrics.json")[f"eval_{metric}"]
    print(f"{name}: {metric} {value:.4f}, {seconds:.0f} s", flush=True)
    return 0


def child_environment(workers: int) -> dict[str, str]:
    """This package importable, and this process's cores shared among the processes that run at the same time."""
    root = str(Path(trainer_ext.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    if workers > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // workers)))
    return environment


def last_error(text: str) -> str:
    """The message of a script that ended with exit status 2."""
    found = [line for line in text.splitlines() if line.startswith("error: ")]
    return found[-1].removeprefix("error: ") if found else "it refused its arguments: " + " ".join(text.split())[-300:]


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log, without the states of progress bars that were drawn over."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.rpartition("\r")[2] for line in lines]
    return "\n".join(f"  {line}" for line in lines[-count:])


def run_module(module: str, arguments: Sequence[str], log: Path) -> None:
    """Run a part of the package that loads models in a process of its own, so that this one stays small.

    Raises:
        UserError: for exit status 2, with its message.
        RunError: when it fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=child_environment(1), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 2:
        raise UserError(last_error(done.stderr))
    if done.returncode:
        write_text(log, done.stdout + done.stderr)
        raise RunError(f"{module} failed (see {log}); the models are kept. Run the same command again")
    print(done.stdout, end="", flush=True)
