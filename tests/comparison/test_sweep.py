"""Sweeps: what a file stands for, what is refused before anything trains, what is kept and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.comparison.conftest import save_run
from tests.conftest import ROOT, run_script
from tests.export.test_bootstrap import SPACE
from trainer_ext.cli.sweep import main as sweep_command
from trainer_ext.comparison.sweep import check_same_sweep, is_finished, resuming_of
from trainer_ext.comparison.sweep_file import SweepRun, read_sweep
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS

SWEEP = """
output_dir: {folder}
recipe: a.yaml
flags: {{max_length: 16, config_overrides: num_hidden_layers=2}}
runs:
  plain: {{}}
  focal: {{focal_gamma: 2, recipe: b.yaml, config_overrides: null}}
grid:
  seed: [1, 2]
  label_names: [[x, y]]
"""


def written(folder, text: str):
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_a_file_stands_for(tmp_path):
    """By hand: each run at each point of the grid, its own flags over those of all."""
    text = SWEEP.format(folder="out").replace("[[x, y]]", "[x]")
    sweep = read_sweep(written(tmp_path, text))
    assert sweep.output_dir == "out"
    common = ["--max_length", "16", "--config_overrides", "num_hidden_layers=2"]
    assert sweep.runs[1] == SweepRun(
        "plain-seed=2-label_names=x", ["a.yaml", *common, "--seed", "2", "--label_names", "x"]
    )
    words = ["--max_length", "16", "--focal_gamma", "2", "--seed", "1", "--label_names", "x"]
    assert sweep.runs[2] == SweepRun("focal-seed=1-label_names=x", ["b.yaml", *words])
    assert len(sweep.runs) == 4


def test_a_grid_alone(tmp_path):
    """Needs no named runs; a value that is a path makes a name without slashes."""
    sweep = read_sweep(written(tmp_path, "grid:\n  model_name_or_path: [a/b, c]\n"))
    assert [run.name for run in sweep.runs] == ["model_name_or_path=a_b", "model_name_or_path=c"]
    assert sweep.output_dir is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("grids: {}", "unknown key grids; did you mean .*grid"),
        ("[1, 2]", "must be a flat mapping"),
        ("runs: {a: {}}", "has 1 runs: a sweep needs two or more"),
        ("runs: {a: {}, ../b: {}}", "'../b': a name has letters"),
        ("runs: {a: 3, b: {}}", "run a must be a flat mapping"),
        ("grid: {seed: 3}", "seed must be a list of values"),
        ("grid: {seed: [1, 1]}", "1 runs"),
        ("runs: {a: {output_dir: x}, b: {}}", "output_dir stands at the top"),
        ("recipe: [a]\nruns: {a: {}, b: {}}", "recipe must be one word"),
    ],
)
def test_a_file_that_is_no_sweep(text, message, tmp_path):
    """One line that names the file."""
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=message) as error:
        read_sweep(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_every_run_is_checked_before_one_trains(tmp_path, topic_files):
    """The second has a misspelt flag: the line names the run, and nothing is made."""
    flags = f"{{task: single_label, from_scratch: tiny, train_file: {topic_files['train']}"
    runs = f"runs:\n  a: {flags}}}\n  b: {flags}, focal_gama: 2}}\n"
    out = tmp_path / "out"
    done = run_script("-m", "trainer_ext", "sweep", written(tmp_path, runs), "--output_dir", out)
    assert done.returncode == 2
    assert "run b:" in done.stderr and "focal_gamma" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not out.exists()


def test_finished_runs_are_kept_and_compared(tmp_path, topic_files):
    """Without any training; with other flags the folder is refused."""
    task = TASKS["single_label"](SPACE)
    labels = np.arange(12) % 3
    out = tmp_path / "out"
    for name, shift in (("a", 0), ("b", 1)):
        save_run(out / name, task, np.eye(3)[(labels + shift) % 3], labels)
    flags = (
        f"flags: {{task: single_label, from_scratch: tiny, train_file: {topic_files['train']}}}\n"
    )
    path = written(tmp_path, f"output_dir: {out}\n{flags}runs: {{a: {{}}, b: {{seed: 2}}}}\n")
    done = run_script("-m", "trainer_ext", "sweep", path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished before, kept") == 2 and "-1.0000" in done.stdout
    assert {"comparison.csv", "comparison.md", "comparison.png"} <= set(os.listdir(out))
    done = run_script("-m", "trainer_ext", "sweep", path, "--learning_rate", "1e-3")
    assert done.returncode == 2 and "is of another run" in done.stderr


def test_a_refused_run_may_be_mended(tmp_path, topic_files):
    """Its folder holds a log only: other flags under its name are no other run."""
    rows = tmp_path / "rows.txt"
    rows.write_text("no label here")
    out = tmp_path / "out"
    flags = f"flags: {{task: single_label, from_scratch: tiny, train_file: {rows}}}\n"
    path = written(tmp_path, f"output_dir: {out}\n{flags}runs: {{a: {{}}, b: {{seed: 2}}}}\n")
    done = run_script("-m", "trainer_ext", "sweep", path)
    assert done.returncode == 2 and str(rows) in done.stderr and "error: a: " in done.stderr
    assert (out / "a" / "train.log").is_file()
    check_same_sweep([SweepRun("a", ["--seed", "3"])], out)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--num_cpus_per_run", "2"], "num_cpus_per_run 2.0 has no effect: launcher is process"),
        (["--launcher", "ray", "--num_cpus_per_run", "0"], "num_cpus_per_run 0.0 is out of range"),
        (["--launcher", "rays"], "invalid choice: 'rays'"),
    ],
)
def test_flags_of_the_launcher(flags, message, tmp_path, topic_files):
    """They are the sweep's own, and are refused before anything is made."""
    common = f"task: single_label, from_scratch: tiny, train_file: {topic_files['train']}"
    path = written(tmp_path, f"flags: {{{common}}}\nruns: {{a: {{}}, b: {{seed: 2}}}}\n")
    with pytest.raises(UserError, match=message):
        sweep_command([str(path), "--output_dir", str(tmp_path / "out"), *flags])
    assert not (tmp_path / "out").exists()


def test_a_launcher_in_the_file_and_on_the_command_line(tmp_path, topic_files):
    """Folds of a run on the cluster, or runs on it: not one in the other."""
    common = f"task: single_label, from_scratch: tiny, train_file: {topic_files['train']}, folds: 2"
    path = written(tmp_path, f"flags: {{{common}, launcher: ray}}\ngrid: {{seed: [1, 2]}}\n")
    with pytest.raises(UserError, match="run seed=1: launcher stands in its flags"):
        sweep_command([str(path), "--output_dir", str(tmp_path / "out"), "--launcher=ray"])


CRASH = """
import os, sys
words, told = sys.orig_argv, {told!r}
# Once, when the second run is trained on the cluster.
if "train" in words and {run!r} in words and not os.path.exists(told):
    open(told, "w").close()
    os._exit(7)
"""


@pytest.mark.slow
def test_on_ray_as_by_processes(tmp_path, topic_flags):
    """The same bits, although one run crashes and is tried again; then both are kept."""
    pytest.importorskip("ray")
    path = written(tmp_path, "runs: {a: {}, b: {focal_gamma: 2}}\n")
    flags = [*map(str, topic_flags), "--max_steps", "8"]
    here, there = tmp_path / "here", tmp_path / "there"
    command = ["-m", "trainer_ext", "sweep", str(path), *flags]
    done = run_script(*command, "--output_dir", here, real=True)
    assert done.returncode == 0, done.stderr
    crash = CRASH.format(told=str(tmp_path / "told"), run=str(there / "b"))
    (tmp_path / "sitecustomize.py").write_text(crash)
    on_ray = ["--launcher", "ray", "--ray_address", "local", "--num_cpus_per_run", "1"]
    command += ["--output_dir", there, *on_ray]
    environment = {"PYTHONPATH": str(tmp_path)}
    done = run_script(*command, real=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "told").exists() and "focal_gamma=2" in done.stdout
    for name in ("a", "b"):
        models = [(folder / name / "model.safetensors").read_bytes() for folder in (here, there)]
        assert models[0] == models[1]
        assert (there / name / "train.log").is_file()
    tables = [(folder / "comparison.csv").read_text().splitlines() for folder in (here, there)]
    # All but paths and times.
    scores = [[line.split(",")[2:4] for line in table] for table in tables]
    assert scores[0] == scores[1] and len(scores[0]) == 3
    done = run_script(*command, real=True, env=environment)
    assert done.returncode == 0 and done.stderr.count("finished before, kept") == 2


def test_which_runs_are_finished_and_which_go_on(tmp_path):
    """A folder of seeds is finished by its cv.json, and goes on without a flag."""
    assert not is_finished(tmp_path) and resuming_of(tmp_path) == []
    (tmp_path / ".trainer_ext.json").write_text("{}")
    assert resuming_of(tmp_path) == ["--resume_from_checkpoint", "true"]
    (tmp_path / "metrics.json").write_text("{}")
    assert is_finished(tmp_path)
    (tmp_path / "seeds.json").write_text("{}")
    assert not is_finished(tmp_path) and resuming_of(tmp_path) == []
    (tmp_path / "cv.json").write_text("{}")
    assert is_finished(tmp_path)


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on(tmp_path, topic_flags):
    """The first run is kept, the second resumed from its checkpoint; then both are compared."""
    out = tmp_path / "out"
    path = written(tmp_path, f"output_dir: {out}\nruns: {{a: {{}}, b: {{focal_gamma: 2}}}}\n")
    flags = [*map(str, topic_flags), "--max_steps", "150"]
    command = [sys.executable, "-m", "trainer_ext", "sweep", str(path), *flags]
    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list(out.glob("b/checkpoint-*/trainer_state.json")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    first.wait(60)
    before = (out / "a" / "metrics.json").stat().st_mtime_ns
    assert not (out / "b" / "metrics.json").exists()
    done = run_script(*command[1:], real=True)
    assert done.returncode == 0, done.stderr
    assert "a: finished before, kept" in done.stderr and "focal_gamma=2" in done.stdout
    assert (out / "a" / "metrics.json").stat().st_mtime_ns == before
    metrics = json.loads((out / "b" / "metrics.json").read_text())
    assert metrics["global_step"] == 150
