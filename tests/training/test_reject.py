"""`--reject` through the entry points: fitted in training, kept in checkpoint and export, said in answers."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import run_ok, run_script
from trainer_ext.errors import UserError
from trainer_ext.evaluation.reject import Judged, auroc, choose, false_answers
from trainer_ext.files import read_json
from trainer_ext.inference import load_predictor

STRANGE = ["zqx wvk jjj", "qqq qqq", "xyzzy plugh", "kkk zzz yyy"]


def test_areas_by_hand():
    judged = Judged(
        score="energy",
        threshold=0.5,
        validation=np.array([0.9, 0.1, 0.3, 0.5]),
        right=np.array([False, True, False, True]),
        ood=np.array([0.4, 0.8]),
    )
    # By score: right, wrong, right, wrong.
    assert judged.risks == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    found = judged.to_dict()
    assert found["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found["validation_rejected"] == 0.25 and found["ood_rejected"] == 0.5
    assert found["validation_risk"] == 0.5
    assert found["validation_risk_answered"] == pytest.approx(1 / 3)
    # Of the eight pairs 0.4 wins two and 0.8 wins three.
    assert found["ood_auroc"] == pytest.approx(5 / 8)


def test_areas_of_scores_that_tell_all_and_nothing():
    low, high = np.arange(20.0), np.arange(20.0) + 30
    assert auroc(low, high) == 1 and false_answers(low, high) == 0
    assert auroc(low, low) == pytest.approx(0.5) and false_answers(low, low) == 0.95


@pytest.fixture(scope="module")
def rejecting(topic_flags, tmp_path_factory):
    """A model that may reject, and the export of it."""
    folder = tmp_path_factory.mktemp("rejecting")
    (folder / "ood.txt").write_text("".join(f"{text}\n" for text in STRANGE), encoding="utf-8")
    run_ok(
        "train.py",
        *topic_flags,
        *("--reject", "mahalanobis", "--reject_rate", "0.1", "--ood_file", folder / "ood.txt"),
        *("--output_dir", folder / "model"),
    )
    run_ok("export.py", folder / "model", "--output_dir", folder / "onnx")
    return folder


def test_training_keeps_and_reports_the_rejection(rejecting):
    model = rejecting / "model"
    stored = read_json(model / "config.json")["pipeline"]["rejection"]
    report = read_json(model / "reject.json")
    assert stored["rate"] == 0.1 and stored["score"] == report["chosen"] == "mahalanobis"
    by_score = {found["score"]: found for found in report["scores"]}
    assert list(by_score) == ["max_probability", "energy", "mahalanobis"]
    own = by_score["mahalanobis"]
    assert own["threshold"] == stored["threshold"]
    assert (report["validation_rows"], report["ood_rows"]) == (30, len(STRANGE))
    metrics = read_json(model / "metrics.json")
    assert metrics["reject_validation_rejected"] <= 0.1
    assert metrics["reject_ood_auroc"] == own["ood_auroc"]
    assert (model / "plots" / "reject.png").stat().st_size > 10_000


def test_checkpoint_export_and_file_answer_alike(rejecting, tmp_path):
    checkpoint = load_predictor(rejecting / "model").predict(STRANGE)
    threshold = read_json(rejecting / "model" / "config.json")["pipeline"]["rejection"]["threshold"]
    files = {"model.onnx": 1e-3, "model_quantized.onnx": 0.1}
    for file, tolerance in files.items():
        exported = load_predictor(rejecting / "onnx", file_name=file).predict(STRANGE)
        for own, other in zip(checkpoint, exported, strict=True):
            assert own["rejected"] is (own["ood_score"] > threshold)
            assert own["ood_score"] == pytest.approx(other["ood_score"], rel=tolerance)
    exported = load_predictor(rejecting / "onnx").predict(STRANGE)
    output = tmp_path / "answers.csv"
    run_ok(
        "predict.py",
        *("--model", rejecting / "onnx", "--input", rejecting / "ood.txt", "--output", output),
    )
    with open(output, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["rejected"].lower()) for row in rows] == [
        answer["rejected"] for answer in exported
    ]


def test_a_model_that_is_trained_on_forgets_its_distances(rejecting, topic_flags, tmp_path):
    """They were fitted to what it was."""
    assert "distances.means" in load_file(rejecting / "model" / "model.safetensors")
    start = topic_flags.index("--from_scratch")
    flags = [*topic_flags[:start], *topic_flags[start + 4 :]]
    run_ok(
        "train.py",
        *flags,
        *("--model_name_or_path", rejecting / "model", "--max_steps", "6"),
        *("--output_dir", tmp_path / "model"),
    )
    assert "distances.means" not in load_file(tmp_path / "model" / "model.safetensors")
    assert "rejected" not in load_predictor(tmp_path / "model").predict(STRANGE)[0]


def test_auto_takes_the_better_score():
    def judged(score: str, ood: float, right: list[bool]) -> Judged:
        validation = np.array([0.0, 1.0, 2.0])
        return Judged(score, 2.0, validation, np.array(right), np.array([ood]))

    near, far = judged("energy", 0.5, [True] * 3), judged("mahalanobis", 5.0, [False] * 3)
    assert choose([near, far], "auto") is far, "by AUROC"
    assert choose([near, far], "energy") is near
    without = [replace(near, ood=None), replace(far, ood=None)]
    assert choose(without, "auto") is without[0], "by the wrong answers"
    with pytest.raises(UserError, match="needs one vector a text"):
        choose([near], "mahalanobis")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--ood_file", "x.txt"], "ood_file x.txt has no effect: reject is none"),
        (["--reject_rate", "0.1"], "reject_rate 0.1 has no effect: reject is none"),
        (["--reject", "energy", "--ood_file", "no.txt"], "no.txt"),
        (
            ["--reject", "energy", "--do_train", "false"],
            "reject energy follows a training, but do_train is false",
        ),
        (
            ["--reject", "energy", "--task", "regression"],
            "reject energy reads the probabilities of classes, which regression does not have",
        ),
    ],
)
def test_mistakes(topic_flags, tmp_path, flags, message):
    done = run_script("train.py", *topic_flags, *flags, "--output_dir", tmp_path / "model")
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
