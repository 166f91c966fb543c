"""Folds of every other task, end to end: the columns of oof.csv and submission.csv, and the joined metric. Slow."""

import csv
import json
import random

import numpy as np
import pytest

from tests.conftest import ASPECTS, FILLER
from tests.cross_validation.conftest import TINY
from trainer_ext import fit, load_predictor

pytestmark = pytest.mark.slow
FLAGS = {
    key: value
    for key, value in TINY.items()
    if key not in ("task", "id_column", "metric_for_best_model")
}
FLAGS |= {"folds": 2, "num_fold_workers": 2, "load_best_model_at_end": False}


def run(folder, **flags) -> tuple[list[dict], list[dict], dict]:
    """oof.csv, submission.csv and cv.json."""
    fit(FLAGS, output_dir=folder, **flags)
    read = []
    for name in ("oof.csv", "submission.csv"):
        with open(folder / name, encoding="utf-8", newline="") as file:
            read.append(list(csv.DictReader(file)))
    assert (folder / "README.md").is_file()
    return (*read, json.loads((folder / "cv.json").read_text()))


def test_aspects(tmp_path, aspect_files):
    """A prediction per aspect in the file's values, and its probabilities."""
    oof, submission, summary = run(
        tmp_path,
        task="multi_aspect",
        text_column="content",
        id_column="id",
        label_columns=ASPECTS,
        label_names=["none=-2", "negative=-1", "neutral=0", "positive=1"],
        train_file=str(aspect_files["train"]),
        test_file=str(aspect_files["validation"]),
    )
    assert list(oof[0])[:6] == ["id", "fold", "food", "staff", "pred_food", "pred_staff"]
    assert sum(
        float(oof[0][f"food_probability_{c}"]) for c in ("none", "negative", "neutral", "positive")
    ) == (pytest.approx(1, abs=1e-5))
    right = [row[name] == row[f"pred_{name}"] for row in oof for name in ASPECTS]
    assert (
        summary["oof"]["accuracy"] == pytest.approx(np.mean(right))
        and "accuracy" in summary["test"]
    )
    assert list(submission[0]) == ["id", "food", "staff"] and {
        row["food"] for row in submission
    } <= {
        "-2",
        "-1",
        "0",
        "1",
    }


def test_labels(tmp_path, emotion_file):
    """A list in one column stays a list; group folds keep groups."""
    lines = emotion_file.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) | {"who": k // 4} for k, line in enumerate(lines)]
    flags = {
        "task": "multi_label",
        "label_columns": ["labels"],
        "fold_strategy": "group",
        "group_column": "who",
    }
    oof, submission, summary = run(tmp_path, train_file=rows, test_file=rows[:5], **flags)
    assert [json.loads(row["labels"]) for row in oof] == [row["labels"] for row in rows]
    assert all(len({row["fold"] for row in oof[k : k + 4]}) == 1 for k in range(0, 96, 4))
    exact = [sorted(json.loads(r["labels"])) == sorted(json.loads(r["pred_labels"])) for r in oof]
    assert summary["oof"]["exact_match"] == pytest.approx(np.mean(exact))
    assert list(submission[0]) == ["id", "labels"]


def test_scores_with_repeats(tmp_path, score_file):
    """Four models of two divisions; a row's prediction is the mean of the two that did not see it."""
    flags = {
        "task": "regression",
        "label_columns": ["quality", "price"],
        "id_column": "id",
        "fold_repeats": 2,
    }
    oof, submission, summary = run(
        tmp_path, train_file=str(score_file), test_file=str(score_file), **flags
    )
    assert (
        list(summary["folds"]) == ["fold-0", "fold-1", "fold-2", "fold-3"] and "fold" not in oof[0]
    )
    with open(tmp_path / "folds.csv", newline="") as file:
        first = next(csv.DictReader(file))
    with open(score_file, newline="") as file:
        text = next(csv.DictReader(file))["text"]
    models = [tmp_path / f"fold-{first['fold']}", tmp_path / f"fold-{2 + int(first['fold_2'])}"]
    scores = [load_predictor(model).predict([text])[0]["scores"]["quality"] for model in models]
    assert float(oof[0]["pred_quality"]) == pytest.approx(np.mean(scores), abs=1e-5)
    errors = [
        [float(row[f"pred_{name}"]) - float(row[name]) for name in ("quality", "price")]
        for row in oof
    ]
    assert summary["oof"]["mcrmse"] == pytest.approx(
        np.sqrt(np.square(errors).mean(axis=0)).mean(), abs=1e-4
    )
    assert (
        list(submission[0]) == ["id", "quality", "price"]
        and len(load_predictor(tmp_path).members) == 4
    )


def test_intents_and_slots(tmp_path):
    """Mean of intents and of tags word by word; rows without id are numbered."""
    generator, rows = random.Random(0), []
    for k in range(24):
        words = generator.choices(FILLER, k=generator.randint(2, 6))
        tags = ["B-x" if word == "news" else "O" for word in words]
        rows.append({"tokens": [*words, f"w{k}"], "slots": [*tags, "O"], "intent": "ab"[k % 2]})
    tests = [{"tokens": row["tokens"]} for row in rows[:3]]
    oof, submission, summary = run(tmp_path, task="joint", train_file=rows, test_file=tests)
    assert [row["row"] for row in oof] == [str(k) for k in range(1, 25)]
    assert [json.loads(row["slots"]) for row in oof] == [row["slots"] for row in rows]
    right = [row["intent"] == row["pred_intent"] for row in oof]
    assert summary["oof"]["intent_accuracy"] == pytest.approx(np.mean(right))
    assert [len(json.loads(row["slots"])) for row in submission] == [
        len(row["tokens"]) for row in tests
    ]
