"""Multi-label and regression through the three scripts: train -> export -> predict."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CLASSES, run_ok, run_script
from trainer_ext.inference import load_predictor


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def flags_for(topic_flags: list, task: str, file: Path, *more) -> list:
    """The topic flags for another task, trained and evaluated on one file, by that task's own metric."""
    flags = [
        *topic_flags,
        "--task",
        task,
        "--train_file",
        file,
        "--validation_file",
        file,
        "--id_column",
        "id",
    ]
    metric = "mcrmse" if task == "regression" else "f1_micro"
    return [
        *flags,
        "--max_steps",
        "150",
        "--eval_steps",
        "75",
        "--save_steps",
        "75",
        "--metric_for_best_model",
        metric,
        *more,
    ]


def through_export_and_predict(
    checkpoint: Path, file: Path, folder: Path
) -> tuple[list[dict], dict]:
    """Answers of the export's chosen file, and its report."""
    run_ok("export.py", checkpoint, "--output_dir", folder / "onnx", "--max_metric_drop", "1000")
    out = folder / "answers.jsonl"
    done = run_ok(
        "predict.py", "--model", folder / "onnx", "--input", file, "--evaluate", "--output", out
    )
    first_line = done.stdout.split("\n")[1]
    assert first_line.split() == ["metric", file.name]
    answers = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [int(answer["id"]) for answer in answers] == list(range(96))
    return answers, read_json(folder / "onnx/export_report.json")


def test_multi_label(topic_flags, emotion_file, tmp_path):
    methods = [
        "--class_weights",
        "balanced",
        "--rdrop_alpha",
        "0.5",
        "--gradient_accumulation_steps",
        "2",
    ]
    methods += ["--calibrate", "both"]
    checkpoint = tmp_path / "model"
    flags = flags_for(
        topic_flags, "multi_label", emotion_file, "--label_columns", "labels", *methods
    )
    run_ok("train.py", *flags, "--output_dir", checkpoint)
    metrics = read_json(checkpoint / "metrics.json")
    assert metrics["eval_f1_micro"] > 0.9, "the words give the classes away"
    assert {"eval_f1_macro", "eval_exact_match", "eval_roc_auc_macro"} <= set(metrics)
    assert (checkpoint / "plots/f1_by_class.png").is_file() and "3 classes" in (
        checkpoint / "README.md"
    ).read_text()
    answers, report = through_export_and_predict(checkpoint, emotion_file, tmp_path)
    calibration = [
        read_json(folder / "config.json")["pipeline"]["calibration"]
        for folder in (checkpoint, tmp_path / "onnx")
    ]
    assert calibration[0] == calibration[1] and len(calibration[0]["thresholds"]) == 3
    before, after = metrics["eval_ece_uncalibrated"], metrics["eval_ece"]
    all_right = calibration[0]["temperature"] == 1  # then no temperature is determined
    assert after == before if all_right else after < before
    assert list(answers[0]) == ["id", "text", "labels", "probabilities"]
    gold = [json.loads(line)["labels"] for line in emotion_file.read_text().splitlines()]
    exact = np.mean([sorted(a["labels"]) == sorted(g) for a, g in zip(answers, gold, strict=True)])
    assert exact == pytest.approx(read_json(tmp_path / "answers.metrics.json")["eval_exact_match"])
    assert report["metric_name"] == "f1_macro" and report["variants"][1]["label_agreement"] == 1
    done = run_ok("predict.py", "--model", checkpoint, "--text", " ".join(CLASSES["sports"]))
    assert "labels" in done.stdout and "sports" in done.stdout


def test_regression(topic_flags, score_file, tmp_path):
    checkpoint = tmp_path / "model"
    methods = ["--rdrop_alpha", "0.001", "--gradient_accumulation_steps", "2"]
    flags = flags_for(
        topic_flags, "regression", score_file, "--label_columns", "quality", "price", *methods
    )
    run_ok("train.py", *flags, "--output_dir", checkpoint)
    metrics = read_json(checkpoint / "metrics.json")
    assert metrics["eval_rmse_quality"] < 1 and metrics["eval_rmse_price"] < 80, (
        "column means: 1.1 and 110"
    )
    assert metrics["eval_pearson"] > 0.7
    assert (checkpoint / "plots/predictions.png").is_file() and "2 targets" in (
        checkpoint / "README.md"
    ).read_text()
    answers, report = through_export_and_predict(checkpoint, score_file, tmp_path)
    assert list(answers[0]) == ["id", "text", "scores"] and list(answers[0]["scores"]) == [
        "quality",
        "price",
    ]
    with open(score_file, newline="") as file:
        gold = np.array(
            [[float(row["quality"]), float(row["price"])] for row in csv.DictReader(file)]
        )
    scores = np.array([list(answer["scores"].values()) for answer in answers])
    mcrmse = np.sqrt(((scores - gold) ** 2).mean(axis=0)).mean()
    assert mcrmse == pytest.approx(
        read_json(tmp_path / "answers.metrics.json")["eval_mcrmse"], rel=1e-4
    )
    assert report["metric_name"] == "mcrmse" and report["variants"][1]["label_agreement"] == 1
    torch_logits = load_predictor(checkpoint).logits(["good dear", "the"])
    onnx_logits = load_predictor(tmp_path / "onnx", file_name="model.onnx").logits(
        ["good dear", "the"]
    )
    np.testing.assert_allclose(onnx_logits, torch_logits, rtol=1e-5)
    done = run_ok("predict.py", "--model", checkpoint, "--text", "good news")
    assert "quality" in done.stdout and "price" in done.stdout
    run_ok("predict.py", "--model", checkpoint, "--text", "good", "--output", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().startswith('"text","quality","price"\n"good",')


def test_focal_loss_on_scores_is_refused(topic_flags, score_file, tmp_path):
    flags = flags_for(
        topic_flags, "regression", score_file, "--label_columns", "quality", "--focal_gamma", "2"
    )
    done = run_script("train.py", *flags, "--output_dir", tmp_path / "out")
    assert done.returncode == 2 and "focal" in done.stderr and "regression" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
