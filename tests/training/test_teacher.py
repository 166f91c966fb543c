"""Training runs with a teacher: each task, one model or several, cut off and resumed, refused where it cannot teach."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.conftest import CLASSES, ROOT, labelled_lines, run_ok, run_script
from trainer_ext import load_predictor
from trainer_ext.data.preprocessing.tokenize import Collator, tokenize
from trainer_ext.data.teacher_outputs import TEACHER_ROW, TeacherOutputs
from trainer_ext.modeling.scratch import train_tokenizer
from trainer_ext.tasks import TASKS, Calibration, LabelSpace
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.training.teacher import stored_values, with_row_numbers

SOFT = ["--distill", "soft", "--distill_alpha", "0.7"]
STUDENT = ["--vocab_size", "60", "--max_steps", "6", "--max_length", "24"]


def rows_in(folder: Path) -> np.ndarray:
    """The stored values of the rows of a run."""
    return np.load(folder / "teacher_cache" / "rows.npy")


def losses_of(folder: Path) -> set[str]:
    """The names of the terms that a run's checkpoint has logged."""
    (state,) = folder.glob("checkpoint-6/trainer_state.json")
    history = json.loads(state.read_text(encoding="utf-8"))["log_history"]
    return {name for entry in history for name in entry if name.startswith("loss_")}


@pytest.fixture(scope="module")
def student(topic_flags, topic_checkpoint, tmp_path_factory) -> Path:
    """A student with a vocabulary of its own, and fewer tokens a text than its teacher."""
    folder = tmp_path_factory.mktemp("models") / "student"
    flags = [*topic_flags, *STUDENT, *SOFT, "--rdrop_alpha", "1", "--focal_gamma", "1"]
    done = run_ok("train.py", *flags, "--teacher", topic_checkpoint, "--output_dir", folder)
    assert "teacher: 100%" in done.stderr
    return folder


def test_a_student_learns_from_the_teachers_logits(student, topic_files, topic_checkpoint):
    lines = topic_files["train"].read_text(encoding="utf-8").splitlines()
    expected = load_predictor(topic_checkpoint).logits(line.split("\t")[0] for line in lines)
    np.testing.assert_allclose(rows_in(student), expected, rtol=1e-4, atol=1e-5)
    assert losses_of(student) == {"loss_focal", "loss_distill_soft", "loss_rdrop"}
    (answer,) = load_predictor(student).predict(["a new match"])
    assert set(answer["probabilities"]) == set(CLASSES)


def test_the_recipe_of_the_run_holds_the_teacher(student, topic_checkpoint):
    text = (student / "resolved_config.yaml").read_text(encoding="utf-8")
    assert str(topic_checkpoint) in text
    assert "distill: soft" in text and "distill_alpha: 0.7" in text


def test_a_run_is_repeated_to_the_bit_and_finds_what_the_teacher_said(
    student, topic_checkpoint, tmp_path
):
    again = tmp_path / "again"
    shutil.copytree(student / "teacher_cache", again / "teacher_cache")
    done = run_ok("train.py", student / "resolved_config.yaml", "--output_dir", again)
    assert "teacher's answers to 96 rows are in" in done.stderr
    one, other = (load_file(folder / "model.safetensors") for folder in (student, again))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_alpha_0_is_the_plain_run_to_the_bit(topic_flags, topic_checkpoint, tmp_path):
    off = ["--teacher", topic_checkpoint, "--distill", "soft", "--distill_alpha", "0"]
    weights = []
    for name, flags in (("plain", []), ("off", off)):
        folder = tmp_path / name
        run_ok("train.py", *topic_flags, *STUDENT, *flags, "--output_dir", folder)
        weights.append(load_file(folder / "model.safetensors"))
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_resumed_run_ends_as_one_that_was_not_cut_off(topic_flags, topic_checkpoint, tmp_path):
    flags = [
        *topic_flags,
        *STUDENT,
        *SOFT,
        "--teacher",
        topic_checkpoint,
        "--save_total_limit",
        "3",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_ok("train.py", *flags, "--max_steps", "12", "--output_dir", whole)
    cut.mkdir()
    shutil.copytree(whole / "checkpoint-6", cut / "checkpoint-6")
    shutil.copytree(whole / "teacher_cache", cut / "teacher_cache")
    # The cache was cut off, too: it goes on at its row 40.
    progress = cut / "teacher_cache" / "progress.json"
    state = json.loads(progress.read_text(encoding="utf-8"))
    progress.write_text(json.dumps(state | {"rows": 40}), encoding="utf-8")
    values = np.load(cut / "teacher_cache" / "rows.npy", mmap_mode="r+")
    values[40:] = 0
    values.flush()
    resume = ["--resume_from_checkpoint", "true", "--max_steps", "12"]
    run_ok("train.py", *flags, *resume, "--output_dir", cut)
    np.testing.assert_allclose(rows_in(cut), rows_in(whole), rtol=1e-4, atol=1e-5)
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, cut))
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-4)


def test_several_teachers_are_an_ensemble_and_hard_labels_are_its_answers(
    topic_flags, topic_files, topic_checkpoint, student, tmp_path
):
    teachers = [topic_checkpoint, student]
    hard = ["--distill", "hard", "--teacher", *teachers]
    run_ok("train.py", *topic_flags, *STUDENT, *hard, "--output_dir", tmp_path / "hard")
    lines = topic_files["train"].read_text(encoding="utf-8").splitlines()
    answers = load_predictor(teachers).predict(line.split("\t")[0] for line in lines)
    labels = sorted(CLASSES)
    expected = [labels.index(answer["label"]) for answer in answers]
    assert rows_in(tmp_path / "hard").argmax(-1).tolist() == expected
    assert np.unique(rows_in(tmp_path / "hard")).tolist() == [0, 1]
    assert losses_of(tmp_path / "hard") == {"loss_cross_entropy", "loss_distill_hard"}


def test_regression(score_file, topic_flags, tmp_path):
    flags = [*topic_flags, "--task", "regression", "--label_columns", "quality", "price"]
    flags += ["--train_file", score_file, "--validation_file", score_file]
    flags += ["--max_steps", "6", "--metric_for_best_model", "mcrmse"]
    run_ok("train.py", *flags, "--output_dir", tmp_path / "teacher")
    taught = ["--distill", "soft", "--teacher", tmp_path / "teacher"]
    # A head that starts as ridge regression reads the training rows without their teacher.
    run_ok(
        "train.py", *flags, *taught, "--head_init", "ridge", "--output_dir", tmp_path / "student"
    )
    with score_file.open(encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    expected = load_predictor(tmp_path / "teacher").logits(texts)
    np.testing.assert_allclose(rows_in(tmp_path / "student"), expected, rtol=1e-4)
    assert losses_of(tmp_path / "student") == {"loss_rmse", "loss_distill_soft"}


def test_aspects_and_several_labels(
    aspect_files, aspect_checkpoint, emotion_file, topic_flags, tmp_path
):
    recipe = aspect_checkpoint / "resolved_config.yaml"
    flags = ["--max_steps", "6", "--teacher", aspect_checkpoint, *SOFT]
    run_ok("train.py", recipe, *flags, "--output_dir", tmp_path / "aspects")
    assert rows_in(tmp_path / "aspects").shape == (96, 2, 4)
    assert "loss_distill_soft" in losses_of(tmp_path / "aspects")
    flags = [*topic_flags, "--task", "multi_label", "--label_columns", "labels", "--max_steps", "6"]
    flags += ["--train_file", emotion_file, "--validation_file", emotion_file]
    run_ok("train.py", *flags, "--output_dir", tmp_path / "teacher")
    for kind in ("soft", "hard"):
        taught = ["--distill", kind, "--teacher", tmp_path / "teacher"]
        run_ok("train.py", *flags, *taught, "--output_dir", tmp_path / kind)
        assert f"loss_distill_{kind}" in losses_of(tmp_path / kind)
    answers = load_predictor(tmp_path / "teacher").predict(
        json.loads(line)["text"] for line in emotion_file.read_text(encoding="utf-8").splitlines()
    )
    flags_of_rows = rows_in(tmp_path / "hard")
    assert flags_of_rows.sum(-1).tolist() == [len(answer["labels"]) for answer in answers]


def slot_rows(path: Path, rows: int) -> Path:
    """Rows of words with an intent, and a slot for each word of a class."""
    lines = []
    for text, label in labelled_lines(rows, 3):
        tokens = text.split()
        slots = ["B-topic" if token in CLASSES[label] else "O" for token in tokens]
        row = {"tokens": tokens, "slots": slots, "intent": label}
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("distill", ["soft", "hard"])
def test_slots_are_matched_by_word_although_tokenizers_differ(distill, topic_flags, tmp_path):
    file = slot_rows(tmp_path / "rows.jsonl", 48)
    flags = [*topic_flags, "--task", "joint", "--metric_for_best_model", "slot_f1"]
    flags += ["--train_file", file, "--validation_file", file, "--max_steps", "6"]
    teacher = tmp_path / "teacher"
    run_ok("train.py", *flags, "--vocab_size", "300", "--max_length", "7", "--output_dir", teacher)
    taught = ["--vocab_size", "60", "--distill", distill, "--teacher", teacher]
    run_ok("train.py", *flags, *taught, "--output_dir", tmp_path / "student")
    assert losses_of(tmp_path / "student") >= {
        f"loss_distill_{distill}",
        f"loss_slot_distill_{distill}",
    }
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    outputs = list(load_predictor(teacher).logits_iter(row["tokens"] for row in rows))
    words = np.concatenate([tags for _, tags in outputs])
    stored = np.load(tmp_path / "student" / "teacher_cache" / "words.npy")
    is_read = np.ptp(words, axis=-1) != 0
    assert 0 < is_read.sum() < len(words)  # max_length 7 cuts some rows
    assert np.isnan(stored[~is_read]).all()
    if distill == "soft":
        np.testing.assert_allclose(stored[is_read], words[is_read], rtol=1e-3, atol=1e-4)
    else:
        assert stored[is_read].sum(-1).tolist() == [1] * int(is_read.sum())


def test_a_batch_has_each_words_values_at_its_first_piece(tmp_path):
    from datasets import Dataset

    words = [["abab", "ba"], ["ab"]]
    tokenizer = train_tokenizer(["a b ab ba"], 40, 32)
    columns = {"text": ["", ""], "words": words, "labels": [0, 1], "token_labels": [[0, 1], [1]]}
    tokens = with_row_numbers(tokenize(Dataset.from_dict(columns), tokenizer, 16, None), range(2))
    teacher = TeacherOutputs(tmp_path / "cache", "key", 2, (2,), [2, 1], 2)
    first = (np.array([1, 2]), np.array([[3, 4], [5, 6]]))
    second = (np.array([7, 8]), np.array([[9, 10]]))
    teacher.write([first, second])
    batch = Collator(tokenizer, teacher)([tokens[1], tokens[0]])
    assert batch["teacher_labels"].tolist() == [[7, 8], [1, 2]]
    values = batch["teacher_token_labels"]
    is_first = batch["token_labels"] != -100
    assert torch.equal(values.isfinite().all(-1), is_first)
    assert values[is_first].tolist() == [[9, 10], [3, 4], [5, 6]]
    assert TEACHER_ROW not in batch


def test_stored_values_are_the_calibrated_answers():
    space = LabelSpace(("label",), ("a", "b"), ("a", "b"))
    task = TASKS["single_label"](space, Calibration(2.0, bias=(0.0, 3.0)))
    output = np.array([4.0, 2.0])
    assert stored_values(task, output, "soft")[0].tolist() == [2, 1]
    # Divided by 2, and with the bias the second class wins.
    assert stored_values(task, output, "hard")[0].tolist() == [0, 1]
    joint = Joint(JointLabelSpace(("intent",), ("a", "b"), ("a", "b"), ("O", "B-x", "I-x")))
    # I-x cannot follow O: the answer is the best path, not the best tag of each word.
    tags = np.array([[3.0, 2.9, 0.0], [0.0, 0.0, 9.0], [0.0, 0.0, 0.0]])
    _, stored = stored_values(joint, (output, tags), "hard")
    assert stored[:2].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert np.isnan(stored[2]).all()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--distill", "soft"], ["distill soft needs a teacher"]),
        (["--teacher", "a"], ["teacher a has no effect", "distill is none"]),
        (["--distill_alpha", "0.3"], ["distill_alpha 0.3 has no effect", "distill is none"]),
        (["--distill", "soft", "--teacher", "a", "--distill_alpha", "1.5"], ["distill_alpha 1.5", "at most 1"]),
        (["--distill", "soft", "--teacher", "a", "--distill_temperature", "0"], ["distill_temperature 0", "above 0"]),
        (["--distill", "hard", "--teacher", "a", "--distill_temperature", "3"], ["distill_temperature 3", "no effect"]),
        (["--distill", "softly", "--teacher", "a"], ["softly", "soft"]),
        (["--distill", "soft", "--teacher", "nowhere"], ["nowhere", "does not exist"]),
    ],
)  # fmt: skip
def test_flags_that_make_no_sense_are_refused(flags, words, topic_flags, tmp_path):
    check_refused([*topic_flags, *flags], words, tmp_path)


def test_a_teacher_of_other_labels_or_another_task_is_refused(
    topic_flags, topic_files, topic_checkpoint, aspect_checkpoint, tmp_path
):
    check_refused(
        [*topic_flags, *SOFT, "--teacher", aspect_checkpoint],
        [f"teacher {aspect_checkpoint}", "other tasks", "multi_aspect and single_label"],
        tmp_path,
    )
    other = [*topic_flags, *SOFT, "--teacher", topic_checkpoint]
    labels = [*sorted(CLASSES)[1:], sorted(CLASSES)[0]]
    check_refused([*other, "--label_names", *labels], ["other labels", labels[0]], tmp_path)


def check_refused(flags: list, words: list[str], folder: Path) -> None:
    """One line with these words, and the exit code 2."""
    done = run_script("train.py", *flags, "--output_dir", folder / "run")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_a_folder_of_folds_teaches_one_student(tmp_path):
    runs = ROOT / "tests" / "compatibility" / "runs_of_0_1"
    flags = ["--folds", "0", "--train_file", runs / "topics.csv", "--max_steps", "4"]
    flags += ["--distill", "soft", "--distill_alpha", "1", "--logging_steps", "2"]
    flags += ["--save_strategy", "steps", "--save_steps", "4", "--teacher", runs / "folds"]
    recipe = runs / "folds" / "resolved_config.yaml"
    run_ok("train.py", recipe, *flags, "--output_dir", tmp_path / "student")
    with (runs / "topics.csv").open(encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    expected = load_predictor(runs / "folds").logits(texts)
    np.testing.assert_allclose(rows_in(tmp_path / "student"), expected, rtol=1e-3, atol=1e-4)
    # With alpha 1 the true labels have no term.
    text = (tmp_path / "student/checkpoint-4/trainer_state.json").read_text(encoding="utf-8")
    assert "loss_distill_soft" in text and "loss_cross_entropy" not in text
