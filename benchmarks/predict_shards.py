"""Answer for shards of short texts: `python benchmarks/predict_shards.py --rows 1000000 --shards 20`.

1. Rows a second, and the most memory of all processes together, with one process (`predict.py`, one thread, shard after
   shard), with two such processes that share out the shards, and through Ray Data with two actors.
2. The answers of all ways are the same bytes.
3. The way through Ray, killed at a third and started again: the same bytes, and finished shards are not done again.
"""

import argparse
import filecmp
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pyarrow
from predict_million import write_rows
from pyarrow import json as arrow_json
from pyarrow import parquet
from small_model import ROOT, STATIC, make_small_model

from trainer_ext.inference.hardware import instruction_set
from trainer_ext.tables import table

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LOOK_AGAIN = 0.5  # seconds between two looks at the memory


def write_shards(folder: Path, rows: int, shards: int) -> list[Path]:
    """Write the rows of the benchmark of one file as parquet shards of equal length."""
    lines = folder / "rows.jsonl"
    write_rows(lines, rows)
    whole = arrow_json.read_json(lines)
    size = -(-rows // shards)
    paths = []
    for number in range(shards):
        path = folder / "shards" / f"part-{number:02}.parquet"
        path.parent.mkdir(exist_ok=True)
        parquet.write_table(pyarrow.Table.slice(whole, number * size, size), path)
        paths.append(path)
    return paths


def start(*arguments: object) -> subprocess.Popen:
    """Start predict.py in a process group of its own."""
    command = [sys.executable, "predict.py", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True
    )


def alone(model: Path, paths: Sequence[Path], output: Path) -> subprocess.Popen:
    """Start one process that answers some shards, one after the other, with one thread."""
    output.mkdir(exist_ok=True)
    code = (
        "import sys\n"
        "from trainer_ext.arguments.files import FileOptions\n"
        "from trainer_ext.inference.job import Form\n"
        "from trainer_ext.inference.shards import Shard, ShardSettings, ShardWorker\n"
        "model = {'path': [sys.argv[1]], 'num_threads': 1, 'batch_size': 8}\n"
        "worker = ShardWorker(ShardSettings(model, FileOptions(), 'text', None, Form()), sys.argv[2])\n"
        "for path in sys.argv[3:]:\n"
        "    worker.answer(Shard(path, path.split('/')[-1].replace('.parquet', '.jsonl')))\n"
    )
    command = [sys.executable, "-c", code, str(model), str(output), *map(str, paths)]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)})


def on_ray(model: Path, paths: Sequence[Path], output: Path) -> subprocess.Popen:
    """Start predict.py with a cluster of this machine's cores."""
    source = paths[0].parent / "*.parquet"
    flags = ["--engine", "ray", "--ray_address", "local", "--text_column", "text"]
    return start("--model", model, *flags, "--input", source, "--output", output)


def measured(run: Callable[[], Sequence[subprocess.Popen]], rows: int) -> tuple[float, float]:
    """Return rows a second from start to end, and the most MB that all processes have for themselves together."""
    begin = time.perf_counter()
    processes = run()
    most = 0.0
    while any(process.poll() is None for process in processes):
        most = max(most, sum(memory(process.pid) for process in processes))
        time.sleep(LOOK_AGAIN)
    assert all(process.wait() == 0 for process in processes), "a process failed"
    return rows / (time.perf_counter() - begin), most


def memory(pid: int) -> float:
    """Return the MB of a process and those it started: what each has for itself (USS)."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_full_info().uss / 2**20
    except psutil.Error:
        pass  # one that has just ended
    return total


def same(one: Path, other: Path, paths: Sequence[Path]) -> bool:
    """Return whether all shards have the same answers in two folders."""
    names = [path.with_suffix(".jsonl").name for path in paths]
    return all(filecmp.cmp(one / name, other / name, shallow=False) for name in names)


def killed_and_started_again(model: Path, paths: Sequence[Path], output: Path) -> int:
    """Kill the way through Ray when a third of the shards are there, start it again; return how many were kept."""
    process = on_ray(model, paths, output)
    while len(list(output.glob("*.jsonl"))) < len(paths) // 3:
        assert process.poll() is None, "it ended too early"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # Ray's workers notice that their driver is gone
    kept = {path: path.stat().st_mtime_ns for path in output.glob("*.jsonl")}
    assert on_ray(model, paths, output).wait() == 0
    return sum(path.stat().st_mtime_ns == changed for path, changed in kept.items())


def make_model(folder: Path, static: bool) -> Path:
    """Return the export of a model that was hardly trained."""
    if not static:
        return make_small_model(folder)[1]
    # Its float file takes eight texts a run, INT8 one, and a run costs more than the sums in it.
    return make_small_model(folder, STATIC, skip=["int8"])[1]


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--model", type=Path, help="An export; by default a TinyBERT is made.")
    parser.add_argument("--static", action="store_true", help="Make a static student instead.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or make_model(folder, options.static)
        paths = write_shards(folder, options.rows, options.shards)
        ways = {
            "one process": lambda: [alone(model, paths, folder / "one")],
            "two processes": lambda: [
                alone(model, paths[half::2], folder / "two") for half in (0, 1)
            ],
            "Ray Data, two actors": lambda: [on_ray(model, paths, folder / "ray")],
        }
        found = {}
        for way, run in ways.items():
            found[way] = measured(run, options.rows)
            # Each takes minutes, and a load of more than its processes tells of other work.
            print(
                f"{way}: {found[way][0]:.0f} rows a second, load {os.getloadavg()[1]:.1f}",
                flush=True,
            )
        assert same(folder / "one", folder / "two", paths), "two processes answer otherwise"
        assert same(folder / "one", folder / "ray", paths), "Ray answers otherwise"
        base = found["one process"][0]
        rows = []
        for way, (speed, most) in found.items():
            rows.append([way, f"{speed:.0f}", f"{speed / base:.2f}", f"{most:.0f}"])
        print(table(rows, ["way", "rows a second", "ratio", "MB at most"]))
        kept = killed_and_started_again(model, paths, folder / "killed")
        assert same(folder / "one", folder / "killed", paths), "another answer after a kill"
        print(f"killed and started again: the same bytes, {kept} shards kept ({instruction_set()})")


if __name__ == "__main__":
    main()
