"""Train the table of settings (tests/settings.py) under two processes: `python -m benchmarks.two_processes [FOLDER]`.

Each method with each of its tasks, a few steps, all in one launch of torchrun on CPUs; the outcome is a line each in
FOLDER/outcome.jsonl, and a table of tasks on the screen. docs/scaling.md says what came of it.
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

import trainer_ext.training.job
from tests.settings import ALL, SETTINGS, Setting
from tests.test_settings_table import flags_of, make_encoder, rows_of
from tests.two_processes import train

STEPS = 4
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
    """The rows of each task, and the encoder."""
    make_encoder(folder / "encoder")
    for task in ALL:
        lines = [json.dumps(row) + "\n" for row in rows_of(task)]
        (folder / f"{task}.jsonl").write_text("".join(lines), encoding="utf-8")


def outcome(folder: Path, setting: Setting, task: str) -> str:
    """`trained`, or what went wrong, of one line of the table."""
    rows = str(folder / f"{task}.jsonl")
    flags = flags_of(task, (setting,), folder / "encoder") | SHORT
    if "gradient_accumulation_steps" in setting.flags:
        flags["gradient_accumulation_steps"] = 2
    place = str(folder / "runs" / f"{setting.name}-{task}".replace(" ", "_"))
    seen = train({**flags, "train_file": rows, "validation_file": rows, "output_dir": place})
    return "error: " + seen["error"] if "error" in seen else check(seen)


def check(seen: dict[str, Any]) -> str:
    """Whether both processes trained, and everything logged is a number."""
    logged = [value for entry in seen["history"] for name, value in entry.items() if "loss" in name]
    if seen["processes"] != 2 or len(logged) < STEPS or not all(map(math.isfinite, logged)):
        return f"wrong: {seen['processes']} processes, losses {logged}"
    return "trained"


def train_table(folder: Path) -> None:
    """What each process of the launch does; the first writes down what came of it."""
    trainer_ext.training.job.write_plots = lambda *args: None
    for setting in SETTINGS:
        for task in setting.tasks:
            line = {
                "setting": setting.name,
                "task": task,
                "outcome": outcome(folder, setting, task),
            }
            with open(folder / f"outcome{os.environ['RANK']}.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def main(folder: Path) -> int:
    """Launch, count, and name what did not train."""
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--standalone",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        subprocess.run(
            [*command, "-m", "benchmarks.two_processes", str(folder)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            check=True,
        )
    wrong = 0
    for rank in (0, 1):
        lines = [
            json.loads(line) for line in (folder / f"outcome{rank}.jsonl").read_text().splitlines()
        ]
        print(
            f"process {rank}:",
            dict(Counter(line["task"] for line in lines if line["outcome"] == "trained")),
        )
        for line in lines:
            if line["outcome"] != "trained":
                wrong += 1
                print(f"  {line['setting']}, {line['task']}: {line['outcome']}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if "RANK" in os.environ:
        train_table(Path(sys.argv[1]))
    else:
        sys.exit(
            main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="table-")))
        )
