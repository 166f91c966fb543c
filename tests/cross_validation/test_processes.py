"""Folds as processes: killed, crashed, many of them; seeds, soup and export of all. Slow: each model is a process."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, run_ok, run_script
from tests.cross_validation.conftest import TINY, topic_rows
from trainer_ext import load_predictor

pytestmark = pytest.mark.slow


def recipe(folder: Path, rows: int = 36, **flags) -> Path:
    """A recipe file over topic rows; validation rows are others."""
    for name, count, seed in (("train", rows, 1), ("validation", 18, 2)):
        lines = [json.dumps(row) + "\n" for row in topic_rows(count, seed)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(TINY | {"train_file": str(folder / "train.jsonl")} | flags))
    return path


def start(*args) -> subprocess.Popen:
    """train.py in a process group of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py", *map(str, args)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )


def wait_for(done, process: subprocess.Popen) -> None:
    """Until `done()`; the process must not end before."""
    while not done():
        assert process.poll() is None, "it ended too early"
        time.sleep(0.02)


def models_of(folder: Path, names) -> list[bytes]:
    return [(folder / name / "model.safetensors").read_bytes() for name in names]


def test_killed_in_the_second_fold_and_started_again(tmp_path):
    """The first is untouched, and everything is equal to a run that was not killed."""
    path = recipe(
        tmp_path,
        folds=3,
        max_steps=40,
        save_steps=4,
        eval_steps=4,
        output_dir=str(tmp_path / "whole"),
    )
    run_ok("train.py", path)
    cut = tmp_path / "cut"
    process = start(path, "--output_dir", cut)
    wait_for(lambda: list(cut.glob("fold-1/checkpoint-*/trainer_state.json")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cut / "fold-1/metrics.json").exists()
    before = (cut / "fold-0/model.safetensors").stat().st_mtime_ns
    done = run_ok("train.py", path, "--output_dir", cut)
    assert "fold-0: finished before, kept" in done.stderr
    assert (cut / "fold-0/model.safetensors").stat().st_mtime_ns == before
    names = [f"fold-{k}" for k in range(3)]
    assert models_of(cut, names) == models_of(tmp_path / "whole", names)
    assert (cut / "oof.csv").read_bytes() == (tmp_path / "whole/oof.csv").read_bytes()
    assert len(set(models_of(cut, names))) == 3, "folds differ"


def test_a_crash_of_one_leaves_the_others(tmp_path):
    """Exit status 1, the fold and its log named; the same command again finishes."""
    path = recipe(tmp_path, folds=3, output_dir=str(tmp_path / "cv"))
    crash = "import os, sys\nif sys.orig_argv[-2:] == ['--fold', '1']:\n    os._exit(7)\n"
    (tmp_path / "sitecustomize.py").write_text(crash)
    done = run_script("train.py", path, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"error: fold-1 failed (see {tmp_path / 'cv/fold-1/train.log'}); 2 of 3 are finished"
    )
    assert "Run the same command again" in last and (tmp_path / "cv/fold-2/metrics.json").exists()
    assert not (tmp_path / "cv/cv.json").exists()
    done = run_ok("train.py", path)
    assert done.stderr.count("kept") == 2 and (tmp_path / "cv/cv.json").exists()


def test_the_parent_stays_small_over_twenty_folds(tmp_path):
    """Its memory after the last fold is that after the second, give or take 2%."""
    steps = {"max_steps": 1, "eval_steps": 1, "save_steps": 1}
    path = recipe(
        tmp_path, rows=40, folds=20, num_fold_workers=2, output_dir=str(tmp_path / "cv"), **steps
    )
    process, seen = start(path), {}
    while process.poll() is None:
        count = len(list(tmp_path.glob("cv/fold-*/metrics.json")))
        try:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            break
        if 1 < count < 20:
            seen[count] = pages
        time.sleep(0.2)
    assert process.wait() == 0
    assert max(seen) - min(seen) >= 10 and seen[max(seen)] <= 1.02 * seen[min(seen)], seen


def test_seeds_and_a_soup(tmp_path):
    """A model per seed, all together on the validation rows, weights, and a soup that is not worse than the best."""
    folder = tmp_path / "seeds"
    validation, test = str(tmp_path / "validation.jsonl"), str(tmp_path / "test.csv")
    with open(test, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "text"], *([row["id"], row["text"]] for row in topic_rows(5, 3))])
    flags = {"seeds": [42, 7], "soup": True, "validation_file": validation, "test_file": test}
    path = recipe(tmp_path, output_dir=str(folder), **flags)
    done = run_ok("train.py", path)
    summary = json.loads((folder / "cv.json").read_text())
    assert list(summary["seeds"]) == ["seed-42", "seed-7"] and sum(
        summary["weights"].values()
    ) == pytest.approx(1)
    assert {"mean", "std", "ensemble", "soup"} <= set(summary)
    soup = summary["soup"]
    assert (
        soup["soup"] >= soup["best_model"] == max(soup["single_models"].values())
        and soup["rows"] == 18
    )
    texts = [row["text"] for row in topic_rows(5, 3)]
    assert yaml.safe_load((folder / "soup/resolved_config.yaml").read_text()) == {
        "validation_file": validation
    }
    assert "label" in load_predictor(folder / "soup").predict(texts)[0]
    assert len((folder / "submission.csv").read_text().splitlines()) == 6
    judged = [
        json.loads((folder / name / "config.json").read_text())["pipeline"]
        for name in ("soup", "seed-42")
    ]
    assert judged[0]["validation_data_sha256"] == judged[1]["validation_data_sha256"], (
        "the rows that all seeds share"
    )
    assert "soup of seed-" in done.stdout and "ensemble" in done.stdout
    plain = run_ok("train.py", path, "--seeds", "42", "--output_dir", tmp_path / "one")
    assert models_of(tmp_path / "one", ["seed-42"]) == models_of(folder, ["seed-42"]), plain.stdout


def test_every_fold_exported_answers_together(cv, tmp_path):
    """Each through the gate on its own validation rows; the INT8 models of all folds predict as one."""
    done = run_ok(
        "export.py", cv.folder, "--output_dir", tmp_path / "onnx", "--max_metric_drop", "20"
    )
    report = json.loads((tmp_path / "onnx/export_report.json").read_text())
    with open(cv.folder / "folds.csv", newline="") as file:
        rows = [row["fold"] for row in csv.DictReader(file)]
    counts = [model["eval_rows"] for model in report["models"].values()]
    assert report["passed"] and counts == [rows.count("0"), rows.count("1")]
    assert (
        len(list((tmp_path / "onnx").glob("fold-*/model_quantized.onnx"))) == 2
        and "fold-1" in done.stdout
    )
    flags = ["--input", cv.folder / "data/train.jsonl", "--ensemble", "weighted"]
    for model, name in ((tmp_path / "onnx", "int8"), (cv.folder, "torch")):
        run_ok("predict.py", "--model", model, *flags, "--output", tmp_path / f"{name}.jsonl")
    answers = [(tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("int8", "torch")]
    for one, two in zip(*answers, strict=True):
        assert json.loads(one)["probabilities"] == pytest.approx(
            json.loads(two)["probabilities"], abs=0.1
        )
