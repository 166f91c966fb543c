"""A recipe to search over, and a launcher that scores a trial by a formula instead of training it."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import labelled_lines
from trainer_ext.arguments.parser import parse_values
from trainer_ext.cross_validation.launchers.base import PROGRESS_FILE, Job

SPACE = "learning_rate: {low: 1.0e-5, high: 1.0e-2, log: true}\nfocal_gamma: [0, 1, 2]\n"


class Ended:
    """A training that has ended."""

    def __init__(self, status: int = 0):
        self.status = status

    def poll(self) -> int:
        return self.status

    def wait(self, timeout: float | None = None) -> int:
        return self.status


class Formula:
    """Scores 1 at a learning rate of 1e-3 and a gamma of 1; `seen` has the flags of each trial in order.

    `dies_at`: the trial in which the command is interrupted; `refuses`: all rows are bad.
    """

    slots = 1

    def __init__(self, dies_at: int | None = None, refuses: bool = False):
        self.refuses = refuses
        self.seen: list[dict[str, Any]] = []
        self.dies_at = dies_at

    @contextmanager
    def start(self, job: Job):
        recipe = yaml.safe_load((job.folder / "recipe.yaml").read_text())
        if len(self.seen) == self.dies_at:
            raise KeyboardInterrupt
        self.seen.append({name: recipe.get(name) for name in ("learning_rate", "focal_gamma")})
        if self.refuses:
            job.log.write_text("error: train.txt, row 3: no label\n")
            yield Ended(2)
            return
        value = score(**self.seen[-1])
        for number in (1, 2):
            line = {"step": number, "steps": 2, "metrics": {"eval_f1_macro": value}}
            with open(job.folder / PROGRESS_FILE, "a") as file:
                file.write(json.dumps(line) + "\n")
        (job.folder / "metrics.json").write_text(json.dumps({"eval_f1_macro": value}))
        (job.folder / "model.safetensors").write_bytes(b"weights")
        yield Ended()


def score(learning_rate: float, focal_gamma: float | None) -> float:
    """How good a trial is."""
    distance = abs(float(learning_rate) - 1e-3) / 1e-2
    return 1 - distance - 0.1 * abs(float(focal_gamma or 0) - 1)


@pytest.fixture
def recipe(tmp_path) -> dict[str, Any]:
    """Flags of a search of six trials over `SPACE`."""
    for split, rows in (("train", 24), ("validation", 12)):
        lines = [f"{text}\t{label}\n" for text, label in labelled_lines(rows, 1)]
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    (tmp_path / "space.yaml").write_text(SPACE)
    return {
        "from_scratch": "tiny",
        "config_overrides": "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32",
        "vocab_size": 120,
        "max_length": 16,
        "max_steps": 2,
        "learning_rate": 2e-3,
        "report_to": "none",
        "train_file": str(tmp_path / "train.txt"),
        "validation_file": str(tmp_path / "validation.txt"),
        "search": str(tmp_path / "space.yaml"),
        "search_trials": 6,
        "output_dir": str(tmp_path / "search"),
    }


@pytest.fixture
def search(monkeypatch):
    """Run a search with a `Formula` in place of trainings, by default without pictures; returns what it returns."""
    import trainer_ext.search.run as module
    from trainer_ext.search import trial

    monkeypatch.setattr(trial, "LOOK_AGAIN", 0)

    def run(flags: dict[str, Any], formula: Formula, draws: bool = False) -> dict[str, float]:
        if not draws:
            monkeypatch.setattr(module, "draw", lambda *args: None)

        @contextmanager
        def open_launcher(args, jobs):
            yield formula

        monkeypatch.setattr(module, "open_launcher", open_launcher)
        return module.run_search(parse_values(flags, {}))

    return run


def trials_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of search.json."""
    return json.loads((folder / "search.json").read_text())["trials"]
