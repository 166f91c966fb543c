"""Trackers beside W&B, with the real libraries and without a network."""

import pytest

from tests.conftest import labelled_lines
from tests.test_api import RECIPE
from trainer_ext import fit
from trainer_ext.arguments.parser import parse_values
from trainer_ext.cross_validation.members import as_member


def train(folder, tracker: str) -> None:
    """A short training that reports to it."""
    rows = labelled_lines(24, 1)
    flags = RECIPE | {"report_to": tracker, "logging_steps": 1, "logging_dir": str(folder / "log")}
    fit(flags, train_file=rows, validation_file=rows, output_dir=str(folder / "run"))


def test_tensorboard_has_the_curves(tmp_path):
    """Every logged loss and every evaluation, by step."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tmp_path, "tensorboard")
    events = reader.EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "train/loss_cross_entropy", "eval/f1_macro", "eval/loss"} <= tags
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]


def test_trackio_keeps_the_run_on_this_machine(tmp_path, monkeypatch):
    """In its folder, without a Space."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    train(tmp_path, "trackio")
    assert list((tmp_path / "trackio").rglob("*.db"))


def test_runs_stay_here_and_folds_are_runs_of_their_own(tmp_path):
    """transformers' default would log to a Space of the Hub, and all folds into one run and one repository."""
    flags = {"from_scratch": "tiny", "train_file": __file__, "save_strategy": "no", "fold": 2}
    flags |= {"folds": 3, "output_dir": str(tmp_path / "cv"), "report_to": "none"}
    args = parse_values(flags, {})
    assert args.training.trackio_space_id is None
    assert as_member(args).training.run_name == "cv-fold-2"
    args.training.push_to_hub, args.training.hub_model_id = True, "me/cv"
    assert as_member(args).training.hub_model_id == "me/cv-fold-2"
    args.training.hub_model_id = None
    assert as_member(args).training.hub_model_id == "cv-fold-2"
