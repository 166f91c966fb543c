"""A saved model is calibrated on rows, keeps it in its config, and is scored with it."""

import json

import numpy as np
import pytest

from tests.inference.conftest import expected_logits, save_model
from trainer_ext.evaluation.calibrate import calibrate
from trainer_ext.evaluation.scoring import score
from trainer_ext.inference import load_predictor

TEXTS = ["good food", "bad staff", "dull", "good", "bad", "dull dull", "good bad", "food"]
LABELS = [2, 0, 1, 1, 2, 0, 2, 1]


@pytest.mark.parametrize("what", ["temperature", "thresholds", "both"])
def test_what_is_fitted_stays_in_the_model(what, tmp_path):
    folder = save_model(tmp_path / "model")
    predictor = load_predictor(folder)
    logits, task = predictor.logits(TEXTS), predictor.task
    fitted = calibrate(folder, TEXTS, LABELS, what, batch_size=3)
    assert fitted == task.fit_calibration(logits, np.array(LABELS), what)
    assert (fitted.temperature != 1, fitted.bias is not None) == (
        what != "thresholds",
        what != "temperature",
    )
    assert (
        json.loads((folder / "config.json").read_text())["pipeline"]["calibration"]
        == fitted.to_dict()
    )
    assert load_predictor(folder).task.calibration == fitted


def test_a_calibrated_model_is_scored_with_its_calibration_error(tmp_path):
    plain, hot = (
        save_model(tmp_path / "a"),
        save_model(tmp_path / "b", calibration={"temperature": 4.0}),
    )
    assert "ece" not in score(load_predictor(plain), TEXTS, LABELS)["metrics"]
    metrics, task = score(load_predictor(hot), TEXTS, LABELS)["metrics"], load_predictor(hot).task
    logits = np.array([expected_logits(text) for text in TEXTS])
    assert metrics["ece"] == pytest.approx(task.ece(logits, np.array(LABELS), 4.0))
    assert metrics["ece_uncalibrated"] == pytest.approx(task.ece(logits, np.array(LABELS), 1.0))
