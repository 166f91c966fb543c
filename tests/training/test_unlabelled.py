"""Runs with texts that have no labels: every task, files of every kind, pseudo-labels, and what is refused."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import labelled_lines, run_ok
from tests.training.test_teacher import STUDENT, check_refused, losses_of, rows_in, slot_rows
from trainer_ext import load_predictor
from trainer_ext.data.sampling.resample import make_resampler
from trainer_ext.tasks import TASKS, Calibration, LabelSpace
from trainer_ext.training.teacher import confidence


def more_texts(path: Path, rows: int = 40, labels: bool = False) -> Path:
    """Texts a line, which the topic files do not have."""
    lines = []
    for text, label in labelled_lines(rows, 77):
        lines.append(f"{text}\t{label}\n" if labels else f"{text}\n")
    path.write_text("\n".join(lines), encoding="utf-8")  # blank lines between them
    return path


def texts_of(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line]


def test_a_student_learns_from_texts_without_labels(
    topic_flags, topic_files, topic_checkpoint, tmp_path
):
    first = more_texts(tmp_path / "more.txt")
    second = tmp_path / "more.csv"
    second.write_text('id,text\n1,"a new match"\n2,the bank said so\n', encoding="utf-8")
    taught = ["--distill", "soft", "--teacher", topic_checkpoint]
    taught += ["--unlabelled_file", first, second, "--rdrop_alpha", "1", "--balance", "oversample"]
    folder = tmp_path / "student"
    done = run_ok("train.py", *topic_flags, *STUDENT, *taught, "--output_dir", folder)
    assert "rows: train 96, validation 30, unlabelled 42" in done.stderr
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "on 96 rows and 42 without labels." in card
    # Balancing draws from the labelled rows, and shows each of the others once.
    shown, drawn_from = re.search(
        r"an epoch shows (\d+) rows, drawn from (\d+)", done.stderr
    ).groups()
    labels = [line.rpartition("\t")[2] for line in texts_of(topic_files["train"])]
    largest = max(labels.count(name) for name in set(labels))
    assert (int(shown), int(drawn_from)) == (largest * len(set(labels)) + 42, 138)
    lines = [line.split("\t")[0] for line in texts_of(topic_files["train"])]
    texts = [*lines, *texts_of(first), "a new match", "the bank said so"]
    expected = load_predictor(topic_checkpoint).logits(texts)
    np.testing.assert_allclose(rows_in(folder), expected, rtol=1e-4, atol=1e-5)
    assert losses_of(folder) == {"loss_cross_entropy", "loss_distill_soft", "loss_rdrop"}


def test_pseudo_labels_are_those_that_the_teacher_is_sure_of(
    topic_flags, topic_checkpoint, tmp_path
):
    # The labels in the file are not read.
    file = more_texts(tmp_path / "more.txt", labels=True)
    texts = [line.split("\t")[0] for line in texts_of(file)]
    scores = [answer["score"] for answer in load_predictor(topic_checkpoint).predict(texts)]
    threshold = sorted(scores)[15] - 1e-4
    sure = sum(score >= threshold for score in scores)
    assert 0 < sure < 40
    taught = ["--distill", "hard", "--teacher", topic_checkpoint, "--unlabelled_file", file]
    flags = [*topic_flags, *STUDENT, *taught]
    folder = tmp_path / "student"
    chosen = ["--pseudo_label_threshold", f"{threshold:.6f}"]
    done = run_ok("train.py", *flags, *chosen, "--output_dir", folder)
    assert f"{sure} of 40 rows without labels are taken" in done.stderr
    assert f"unlabelled {sure}" in done.stderr
    kept = np.load(folder / "teacher_cache" / "confidence.npy")
    np.testing.assert_allclose(kept[96:], scores, atol=1e-4)
    none = [*flags, "--pseudo_label_threshold", "1"]
    check_refused(none, ["pseudo_label_threshold 1", "not as sure", f"{max(scores):.3f}"], tmp_path)


@pytest.mark.parametrize("task, distill", [("multi_label", "hard"), ("regression", "soft")])
def test_several_labels_and_scores(task, distill, topic_flags, emotion_file, score_file, tmp_path):
    file, columns = (
        (emotion_file, ["labels"]) if task == "multi_label" else (score_file, ["quality"])
    )
    metric = TASKS[task].default_metric
    flags = [*topic_flags, "--task", task, "--label_columns", *columns, "--max_steps", "6"]
    flags += ["--train_file", file, "--validation_file", file, "--metric_for_best_model", metric]
    run_ok("train.py", *flags, "--output_dir", tmp_path / "teacher")
    more = more_texts(tmp_path / "more.txt")
    taught = ["--distill", distill, "--teacher", tmp_path / "teacher", "--unlabelled_file", more]
    if task == "multi_label":
        taught += ["--pseudo_label_threshold", "0.01", "--class_weights", "balanced"]
    else:
        # Reads the labelled rows only: the others would make NaN of it.
        taught += ["--head_init", "ridge", "--gradient_accumulation_steps", "2"]
    folder = tmp_path / "student"
    done = run_ok("train.py", *flags, *taught, "--output_dir", folder)
    assert "unlabelled 40" in done.stderr
    assert f"loss_distill_{distill}" in losses_of(folder)
    assert len(rows_in(folder)) == 136


def test_aspects(aspect_files, aspect_checkpoint, tmp_path):
    with aspect_files["validation"].open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    more = tmp_path / "more.jsonl"
    lines = [json.dumps({"content": row["content"]}) + "\n" for row in rows]
    more.write_text("".join(lines), encoding="utf-8")
    recipe = aspect_checkpoint / "resolved_config.yaml"
    flags = ["--max_steps", "6", "--teacher", aspect_checkpoint, "--distill", "soft"]
    folder = tmp_path / "student"
    run_ok("train.py", recipe, *flags, "--unlabelled_file", more, "--output_dir", folder)
    assert rows_in(folder).shape == (126, 2, 4)


def test_words(topic_flags, tmp_path):
    file = slot_rows(tmp_path / "rows.jsonl", 48)
    flags = [*topic_flags, "--task", "joint", "--metric_for_best_model", "slot_f1"]
    flags += ["--train_file", file, "--validation_file", file, "--max_steps", "6"]
    run_ok("train.py", *flags, "--output_dir", tmp_path / "teacher")
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text('{"tokens": ["a", "new", "match"]}\n', encoding="utf-8")
    lines = tmp_path / "lines.txt"
    lines.write_text("the bank said so\n", encoding="utf-8")
    taught = ["--distill", "hard", "--teacher", tmp_path / "teacher"]
    taught += ["--unlabelled_file", tokens, lines, "--pseudo_label_threshold", "0.001"]
    run_ok("train.py", *flags, *taught, "--output_dir", tmp_path / "student")
    assert len(rows_in(tmp_path / "student")) == 50
    words = np.load(tmp_path / "student" / "teacher_cache" / "words.npy")
    labelled = sum(len(json.loads(line)["tokens"]) for line in texts_of(file))
    assert len(words) == labelled + 3 + 4


def test_confidence_is_the_probability_of_the_least_certain_decision():
    space = LabelSpace(("label",), ("a", "b"), ("a", "b"))
    single = TASKS["single_label"](space, Calibration(2.0))
    # 4 / 2 = 2: e^2 / (e^2 + 1)
    assert confidence(single, np.array([4.0, 0.0])) == pytest.approx(0.880797)
    several = TASKS["multi_label"](space)
    # sigmoid(3) = 0.952574 for a; b is absent with 1 - sigmoid(-1) = 0.731059
    assert confidence(several, np.array([3.0, -1.0])) == pytest.approx(0.731059)
    aspects = TASKS["multi_aspect"](LabelSpace(("x", "y"), ("a", "b"), ("a", "b")))
    logits = np.array([[0.0, 1.0], [2.0, 0.0]])
    assert confidence(aspects, logits) == pytest.approx(0.731059)


def test_more_rows_are_shown_once_in_each_epoch():
    classes = np.array([0, 0, 0, 1])
    resampler = make_resampler(classes, "oversample").with_rows(3)
    for epoch in range(4):
        rows = resampler.draw(7, epoch)
        assert len(rows) == len(resampler) == 9
        counts = np.bincount(rows, minlength=7)
        assert counts[4:].tolist() == [1, 1, 1]
        assert counts[:3].sum() == counts[3] == 3


SOFT = ["--distill", "soft", "--teacher", "a"]


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--unlabelled_file", "{file}"], ["unlabelled_file", "no effect", "distill is none"]),
        ([*SOFT, "--unlabelled_file", "nowhere.txt"], ["unlabelled_file: nowhere.txt does not exist"]),
        ([*SOFT, "--unlabelled_file", "{file}", "--distill_alpha", "0"], ["distill_alpha is 0"]),
        ([*SOFT, "--pseudo_label_threshold", "0.5"], ["0.5 has no effect", "unlabelled_file"]),
        (
            [*SOFT, "--unlabelled_file", "{file}", "--pseudo_label_threshold", "0.5"],
            ["pseudo_label_threshold 0.5", "distill is soft"],
        ),
        (
            ["--distill", "hard", "--teacher", "a", "--unlabelled_file", "{file}", "--pseudo_label_threshold", "2"],
            ["pseudo_label_threshold 2", "at most 1"],
        ),
    ],
)  # fmt: skip
def test_flags_that_make_no_sense_are_refused(flags, words, topic_flags, tmp_path):
    file = more_texts(tmp_path / "more.txt")
    check_refused([*topic_flags, *(flag.format(file=file) for flag in flags)], words, tmp_path)


def test_an_empty_file_and_an_unclear_column_are_refused(topic_flags, topic_checkpoint, tmp_path):
    taught = [*topic_flags, "--distill", "soft", "--teacher", topic_checkpoint, "--unlabelled_file"]
    empty = tmp_path / "empty.txt"
    empty.write_text("", encoding="utf-8")
    check_refused([*taught, empty], [f"{empty} is empty"], tmp_path)
    unclear = tmp_path / "unclear.csv"
    unclear.write_text("one,two\na,b\n", encoding="utf-8")
    check_refused([*taught, unclear], [str(unclear), "which column is the text"], tmp_path)
