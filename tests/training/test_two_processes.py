"""Two processes of one launch (torchrun, on CPUs) against one process: the same steps, metrics, files and refusals.

One launch trains all cases of `tests/two_processes.py`; the tests read what its processes saw.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

import trainer_ext.training.job
from tests.conftest import ROOT
from tests.test_settings_table import rows_of
from tests.two_processes import DROPOUT, NO_DROPOUT, RECIPE, SAME_STEPS, alone, files
from trainer_ext import fit

VALIDATION_ROWS = 31  # not a multiple of anything: what fills the last batch must not count


def write_rows(folder: Path) -> None:
    """48 rows to train on for each task, 31 to evaluate, and a file with a row without a text."""
    (folder / "rows").mkdir()
    for task in ("single_label", "multi_aspect", "multi_label", "regression", "joint"):
        for split, count in (("train", 48), ("validation", VALIDATION_ROWS)):
            lines = [json.dumps(row) + "\n" for row in rows_of(task)[-count:]]
            (folder / "rows" / f"{task}-{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "rows" / "bad.jsonl").write_text(
        '{"text": "a", "label": "b"}\n{"label": "c"}\n', encoding="utf-8"
    )


def train_alone(folder: Path, name: str, flags: dict[str, Any]) -> dict[str, Any]:
    """The same case in this process."""
    recipe = {**RECIPE, **flags}
    done = fit({**files(folder, recipe["task"]), **recipe}, output_dir=str(folder / "one" / name))
    return {
        "metrics": done.metrics,
        "history": done.history,
        # Folds train in processes of their own.
        "steps": done.trainer.state.global_step if done.trainer else None,
    }


TORCHRUN = [
    sys.executable,
    *["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"],
]


@pytest.fixture(scope="module")
def launch(tmp_path_factory) -> dict[str, Any]:
    """What one process saw by itself (`one`), what each of two saw, their folder, and what the launch printed."""
    folder = tmp_path_factory.mktemp("launch")
    write_rows(folder)
    begun = DROPOUT | {"config_overrides": NO_DROPOUT, "per_device_train_batch_size": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_ext.training.finished, "write_plots", lambda *args: None)
        one = {name: train_alone(folder, name, alone(name)) for name in SAME_STEPS}
        one["begun by one"] = train_alone(folder, "begun by one", begun)
    done = subprocess.run(
        [*TORCHRUN, "-m", "tests.two_processes", str(folder)],
        cwd=ROOT, text=True, capture_output=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    return {
        "one": one,
        "ranks": ranks,
        "folder": folder,
        "stdout": done.stdout,
        "stderr": done.stderr,
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def numbers(values: dict[str, Any]) -> dict[str, float]:
    """Those that do not depend on the clock."""
    ends = ("runtime", "_second", "flos", "precision")
    return {name: value for name, value in values.items() if not name.endswith(ends)}


@pytest.mark.parametrize("name", SAME_STEPS)
def test_two_processes_take_the_steps_of_one(name, launch):
    """Weights, every logged number (losses by term, norms, metrics) and metrics.json, without dropout."""
    one, (two, other) = launch["one"][name], (ranks[name] for ranks in launch["ranks"])
    assert "error" not in two, two["error"]
    assert two["processes"] == 2 and two["steps"] == other["steps"] == one["steps"]
    for mine, theirs in zip(one["history"], two["history"], strict=True):
        assert numbers(theirs) == pytest.approx(numbers(mine), rel=2e-3, abs=2e-5)
    assert numbers(two["metrics"]) == pytest.approx(numbers(one["metrics"]), rel=2e-3, abs=2e-5)
    assert other["metrics"] == {}
    single, both = (weights(launch["folder"] / place / name) for place in ("one", "two"))
    for parameter, value in single.items():
        torch.testing.assert_close(both[parameter], value, rtol=1e-3, atol=1e-5)


def test_the_terms_of_the_loss_are_logged_for_all_processes(launch):
    """The comparison above would pass on a log without them."""
    assert {"loss_focal", "loss_rdrop"} <= set(launch["ranks"][0]["focal and R-Drop"]["history"][0])


def test_early_stopping_is_one_decision(launch):
    """Both stop where one process stops, and not at the end."""
    assert (
        launch["ranks"][0]["early stopping"]["steps"]
        == launch["ranks"][1]["early stopping"]["steps"]
        == 4
    )


def test_a_resumed_launch_ends_with_the_same_bits(launch):
    """Also with dropout: each process has a random state of its own."""
    whole, resumed = (weights(launch["folder"] / "two" / name) for name in ("whole", "resumed"))
    assert "error" not in launch["ranks"][0]["resumed"]
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_two_processes_go_on_with_what_one_began(launch):
    """The steps are the same, so the checkpoint of one process is one of two."""
    single, both = (
        weights(launch["folder"] / name) for name in ("one/begun by one", "two/gone on with")
    )
    for parameter, value in single.items():
        torch.testing.assert_close(both[parameter], value, rtol=1e-3, atol=1e-5)


def test_overwriting(launch):
    """Once, by one of them."""
    assert [ranks["overwritten"].get("error") for ranks in launch["ranks"]] == [None, None]
    assert (
        json.loads((launch["folder"] / "two" / "first" / "metrics.json").read_text())["global_step"]
        == 2
    )


@pytest.mark.parametrize(
    "name, words",
    {
        "refused": "already holds another run",
        "bad row": "bad.jsonl",
        "workers": "num_fold_workers 2 under torchrun",
    }.items(),
)
def test_what_one_process_refuses_ends_all(name, words, launch):
    """With the same line, and nobody waits."""
    for ranks in launch["ranks"]:
        assert ranks[name]["status"] == 2 and words in ranks[name]["error"], ranks[name]


def test_diverging_ends_all(launch):
    """With one line."""
    for ranks in launch["ranks"]:
        assert ranks["diverged"]["status"] == 1 and "diverged" in ranks["diverged"]["error"], ranks[
            "diverged"
        ]


def test_train_py_says_it_once_and_every_process_ends_with_2(launch):
    """Whichever process found it."""
    lines = [line for line in launch["stderr"].splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "already holds another run" in lines[0]
    assert [ranks["script"]["status"] for ranks in launch["ranks"]] == [2, 2]


def test_fit_keeps_its_tables_once(launch):
    """And overwrites a run that had some."""
    metrics, others = (ranks["fit"] for ranks in launch["ranks"])
    assert [one["global_step"] for one in metrics] == [1, 1] and others == [{}, {}]
    assert (
        len((launch["folder"] / "two" / "fit" / "data" / "train.jsonl").read_text().splitlines())
        == 16
    )


LONG = {**DROPOUT, "max_steps": 200, "save_steps": 20, "eval_steps": 20}


def torchrun(folder: Path, output: Path, flags: dict[str, Any], *more: str) -> subprocess.Popen:
    """Start train.py in two processes."""
    flags = {**RECIPE, **files(folder, "single_label"), **flags, "output_dir": output}
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return subprocess.Popen(
        [*TORCHRUN, "train.py", *words, *more],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.slow
def test_folds_start_inside(tmp_path):
    """Each in fresh processes, as many as were launched: the folds of one process with twice the batch."""
    write_rows(tmp_path)
    flags: dict[str, Any] = {"folds": 2}
    assert torchrun(tmp_path, tmp_path / "two" / "folds", flags).wait(600) == 0
    train_alone(tmp_path, "folds", {**flags, "per_device_train_batch_size": 8})
    scores = [
        json.loads((tmp_path / place / "folds" / "cv.json").read_text()) for place in ("one", "two")
    ]
    assert scores[1]["oof"] == pytest.approx(scores[0]["oof"], rel=2e-3, abs=2e-5)
    for fold in ("fold-0", "fold-1"):
        single, both = (weights(tmp_path / place / "folds" / fold) for place in ("one", "two"))
        for parameter, value in single.items():
            torch.testing.assert_close(both[parameter], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_one_of_two_processes_is_killed(tmp_path):
    """The other one ends with it; the same command resumes, and ends with the bits of a run that was left alone."""
    write_rows(tmp_path)
    assert torchrun(tmp_path, tmp_path / "whole", LONG).wait(600) == 0
    cut = tmp_path / "cut"
    launcher = torchrun(tmp_path, cut, LONG)
    while not (cut / "checkpoint-20" / "trainer_state.json").exists():
        assert launcher.poll() is None, "it ended too early"
        time.sleep(0.02)
    psutil.Process(launcher.pid).children()[-1].send_signal(signal.SIGKILL)
    assert launcher.wait(120) == 1 and not (cut / "metrics.json").exists()
    assert torchrun(tmp_path, cut, LONG, "--resume_from_checkpoint", "true").wait(600) == 0
    before, after = (weights(folder) for folder in (tmp_path / "whole", cut))
    assert all(torch.equal(after[name], value) for name, value in before.items())
