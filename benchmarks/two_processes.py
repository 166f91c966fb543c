"""Train the settings table (tests/settings.py) in two processes: `python -m benchmarks.two_processes [FOLDER]`.

One launch of torchrun on CPUs trains each method with each of its tasks for a few steps. Each process writes its
outcomes, a line each, to FOLDER/outcomeRANK.jsonl. A count by task is printed. docs/scaling.md reports the result.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import trainer_ext.training.finished
from tests.settings import ALL, SETTINGS, Setting
from tests.test_settings_table import flags_of, make_encoder, rows_of
from tests.two_processes import train

STEPS = 4
TRAINED = "trained"
SHORT = {
    "max_steps": STEPS,
    "save_steps": STEPS,
    "eval_steps": STEPS,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "use_cpu": True,
}
ROOT = Path(__file__).resolve().parent.parent


def prepare(folder: Path) -> None:
    """Write the rows of each task and the encoder."""
    make_encoder(folder / "encoder")
    for task in ALL:
        lines = [json.dumps(row) + "\n" for row in rows_of(task)]
        (folder / f"{task}.jsonl").write_text("".join(lines), encoding="utf-8")


def outcome(folder: Path, setting: Setting, task: str) -> str:
    """Train one line of the table; return `trained`, or what went wrong."""
    rows = str(folder / f"{task}.jsonl")
    flags = flags_of(task, (setting,), folder / "encoder") | SHORT
    if "gradient_accumulation_steps" in setting.flags:
        flags["gradient_accumulation_steps"] = 2
    name = f"{setting.name}-{task}".replace(" ", "_")
    files = {"train_file": rows, "validation_file": rows, "output_dir": str(folder / "runs" / name)}
    seen = train({**flags, **files})
    if "error" in seen:
        return f"error: {seen['error']}"
    return check(seen)


def check(seen: dict[str, Any]) -> str:
    """Return `trained` if two processes trained and every logged loss is finite, else what is wrong."""
    losses = []
    for entry in seen["history"]:
        losses += [value for name, value in entry.items() if "loss" in name]
    if seen["processes"] != 2 or len(losses) < STEPS or not all(map(math.isfinite, losses)):
        return f"wrong: {seen['processes']} processes, losses {losses}"
    return TRAINED


def train_table(folder: Path) -> None:
    """Train the whole table in one process of the launch, and write its outcomes."""
    # Plots take longer than the few steps.
    trainer_ext.training.finished.write_plots = lambda *args: None
    path = folder / f"outcome{os.environ['RANK']}.jsonl"
    for setting in SETTINGS:
        for task in setting.tasks:
            result = outcome(folder, setting, task)
            line = {"setting": setting.name, "task": task, "outcome": result}
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def launch(folder: Path) -> None:
    """Start this file in two processes, and wait for them; their output goes to FOLDER/log.txt."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--standalone", "-m", "benchmarks.two_processes", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)


def report(folder: Path, rank: int) -> int:
    """Print what a process trained, and return how many lines of the table did not train."""
    text = (folder / f"outcome{rank}.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    failed = [line for line in lines if line["outcome"] != TRAINED]
    trained = Counter(line["task"] for line in lines if line["outcome"] == TRAINED)
    print(f"process {rank}: {dict(trained)}")
    for line in failed:
        print(f"  {line['setting']}, {line['task']}: {line['outcome']}")
    return len(failed)


def main(folder: Path) -> int:
    """Train the table, print the counts, and return exit status 1 if anything did not train."""
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder)
    launch(folder)
    failed = report(folder, rank=0) + report(folder, rank=1)
    return 1 if failed else 0


if __name__ == "__main__":
    if "RANK" in os.environ:
        train_table(Path(sys.argv[1]))
    else:
        named = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="table-")
        sys.exit(main(Path(named)))
