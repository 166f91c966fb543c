"""Answer for a million short texts as a user does: `python benchmarks/predict_million.py --rows 1000000`.

1. `predict.py --input --output` in one go: rows a second, and the memory of the process on its way.
2. The answers are the rows, in order, each once.
3. The same command, killed at a third and stopped by Ctrl-C at two thirds, then gone on with: the same bytes.
4. Rows a second against the plain way (`transformers.pipeline` and Optimum's, batches of 32) on a sample of the same
   texts, taking turns in one process.
"""

import argparse
import filecmp
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from small_model import ROOT, make_small_model, read_clauses

from trainer_ext.cores import available_cores
from trainer_ext.data.io.partial import partial_folder, read_state
from trainer_ext.inference import load_predictor
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.tables import table

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.95)  # of the rows, where memory is looked at
BATCH = 32
ROUNDS = 3


def write_rows(path: Path, rows: int) -> None:
    """Write rows of one or two clauses; a number in each makes it different from all others."""
    clauses = read_clauses()
    generator = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(rows):
            text = f"{generator.choice(clauses)}{number}"
            if number % 2:
                text += f" {generator.choice(clauses)}"
            file.write(json.dumps({"id": number, "text": text}, ensure_ascii=False) + "\n")


class Job:
    """One run of predict.py in a process of its own."""

    def __init__(self, model: Path, source: Path, output: Path, resume: bool = False):
        self.output = output
        command = [sys.executable, "predict.py", "--model", model, "--input", source]
        command += ["--output", output, "--resume", str(resume).lower(), "--text_column", "text"]
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def rows(self) -> int:
        """Return how many rows are safe on the disk."""
        state = read_state(partial_folder(self.output))
        return state.rows if state else 0

    def memory(self) -> float:
        """Return the resident memory of the process in MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def wait_for(self, rows: int) -> bool:
        """Wait until so many rows are safe; tell whether the process still runs."""
        while self.process.poll() is None:
            if self.rows() >= rows:
                return True
            time.sleep(0.02)
        return False

    def finish(self) -> None:
        """Wait for the end."""
        status = self.process.wait()
        if status:
            raise SystemExit(f"predict.py ended with {status}")

    def stop(self, number: int) -> None:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        self.process.wait()


def run_whole(model: Path, source: Path, output: Path, rows: int) -> None:
    """Answer all rows in one go, and print speed and memory."""
    start = time.perf_counter()
    job = Job(model, source, output)
    seen = []
    for share in SHARES:
        if job.wait_for(int(share * rows)):
            seen.append([int(share * rows), round(job.memory(), 1)])
    job.finish()
    seconds = time.perf_counter() - start
    print(table(seen, ["rows answered", "resident MB"]))
    print(f"{rows} rows in {seconds:.1f} s with loading: {rows / seconds:.0f} rows a second")
    if len(seen) > 1:
        print(f"memory at the last point / at the first one: {seen[-1][1] / seen[0][1]:.3f}")


def check_order(output: Path, source: Path) -> None:
    """Raise `SystemExit` unless the answers are the rows, in order."""
    with open(output, encoding="utf-8") as answers, open(source, encoding="utf-8") as rows:
        for answer, row in zip(answers, rows, strict=True):
            given = json.loads(row)
            answered = json.loads(answer)
            if any(answered[name] != value for name, value in given.items()):
                raise SystemExit(f"another answer is where that to row {given['id']} should be")
    print("order: each row has its answer, in its place")


def run_interrupted(model: Path, source: Path, output: Path, rows: int) -> None:
    """Answer all rows with two interruptions."""
    for share, number in ((1 / 3, signal.SIGKILL), (2 / 3, signal.SIGINT)):
        job = Job(model, source, output, resume=True)
        if job.wait_for(int(share * rows)):
            job.stop(number)
            print(
                f"{number.name} with {job.rows()} rows safe; the output is there: {output.exists()}"
            )
    start = time.perf_counter()
    job = Job(model, source, output, resume=True)
    before = job.rows()
    job.wait_for(before + 1)
    print(
        f"going on behind {before} rows: the first new ones safe after {time.perf_counter() - start:.1f} s"
    )
    job.finish()


def plain_way(checkpoint: Path, export: Path, rows: Sequence[str]) -> dict[str, Callable[[], Any]]:
    """Return what answers the sample, by name: ours, and the pipelines of the two libraries."""
    import torch
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    torch.set_num_threads(available_cores())
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    exported = ORTModelForSequenceClassification.from_pretrained(export, file_name="model.onnx")
    quantised = ORTModelForSequenceClassification.from_pretrained(
        export, file_name="model_quantized.onnx"
    )
    models = {
        "transformers.pipeline, checkpoint": pipeline("text-classification", str(checkpoint)),
        "Optimum's pipeline, model.onnx": pipeline(
            "text-classification", exported, tokenizer=tokenizer
        ),
        "Optimum's pipeline, our INT8": pipeline(
            "text-classification", quantised, tokenizer=tokenizer
        ),
    }
    predictor = load_predictor(export)
    runs: dict[str, Callable[[], Any]] = {
        "load_predictor, INT8": lambda: sum(1 for _ in predictor.predict_iter(rows))
    }
    for name, model in models.items():
        runs[name] = lambda model=model: model(list(rows), batch_size=BATCH, truncation=True)
    return runs


def compare(checkpoint: Path, export: Path, source: Path, sample: int) -> None:
    """Print rows a second of each way, measured in turns on the same texts."""
    with open(source, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in islice(file, sample)]
    runs = plain_way(checkpoint, export, texts)
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    # The first round warms up.
    for number in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:
                speeds[name].append(len(texts) / (time.perf_counter() - start))
    ours = next(iter(speeds.values()))
    rows = []
    for name, values in speeds.items():
        ratios = sorted(own / other for own, other in zip(ours, values, strict=True))
        spread = f"{ratios[0]:.1f} to {ratios[-1]:.1f}"
        rows.append([name, round(statistics.median(values)), statistics.median(ratios), spread])
    print(table(rows, [f"{len(texts)} rows", "rows/s", "ours over it", "rounds"], 1))


def main() -> None:
    """Run the four parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=2000, help="rows for the plain way")
    parser.add_argument("--folder", help="where model and files are kept; default: nowhere")
    args = parser.parse_args()
    print(f"on {instruction_set()}, {available_cores()} cores")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.folder or scratch)
        checkpoint, export = make_small_model(folder)
        source = folder / "rows.jsonl"
        whole = folder / "whole.jsonl"
        pieces = folder / "pieces.jsonl"
        write_rows(source, args.rows)
        run_whole(export, source, whole, args.rows)
        check_order(whole, source)
        run_interrupted(export, source, pieces, args.rows)
        same = filecmp.cmp(whole, pieces, shallow=False)
        print(f"the interrupted run gave the same bytes: {same}")
        compare(checkpoint, export, source, args.sample)
    if not same:
        raise SystemExit("rows were lost or written twice")


if __name__ == "__main__":
    main()
