"""Intents and slots through the three scripts as a user calls them: train -> evaluate -> export -> predict."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from transformers import AutoModelForSequenceClassification

from tests.conftest import CLASSES, FILLER, run_ok, run_script
from tests.export.test_benchmark import ALL, check_complete
from trainer_ext.data.io.slot_files import read_slot_file
from trainer_ext.data.joint import words_and_labels
from trainer_ext.inference import load_predictor

JOINT_METRICS = {"intent_accuracy", "slot_f1", "sentence_accuracy"}


def sentences(rows: int, seed: int) -> list[tuple[list[str], list[str], str]]:
    """The second word of a class is a slot of two words with the one before it; the class is the intent."""
    generator = random.Random(seed)
    found = []
    for k in range(rows):
        name = list(CLASSES)[k % 3]
        words = generator.choices(FILLER, k=generator.randint(1, 8))
        tags = ["O"] * len(words)
        place = generator.randint(0, len(words))
        words[place:place] = ["special", generator.choice(CLASSES[name])]
        tags[place:place] = [f"B-{name}", f"I-{name}"]
        found.append((words, tags, name))
    return found


@pytest.fixture(scope="module")
def slu_files(tmp_path_factory) -> dict[str, Path]:
    """Token-per-line files; the last validation row has an intent and a slot that no training row has."""
    folder, files = tmp_path_factory.mktemp("slu"), {}
    for split, rows, seed in (("train", 96, 1), ("validation", 30, 2), ("test", 30, 3)):
        content = sentences(rows, seed) + [(["stop", "it"], ["O", "S-new"], "Unseen")] * (
            split == "validation"
        )
        blocks = [
            "".join(f"{w} {t}\n" for w, t in zip(words, tags, strict=True)) + i
            for words, tags, i in content
        ]
        files[split] = folder / f"{split}.txt"
        files[split].write_text("\n\n".join(blocks) + "\n\n", encoding="utf-8")
    return files


@pytest.fixture(scope="module")
def slu_checkpoint(slu_files, topic_flags, tmp_path_factory) -> Path:
    """With Focal Loss, R-Drop, a slot weight and gradient accumulation; `max_length` cuts the longest rows."""
    folder = tmp_path_factory.mktemp("models") / "slu"
    flags = [
        "--task",
        "joint",
        "--metric_for_best_model",
        "sentence_accuracy",
        "--max_steps",
        "60",
        "--eval_steps",
        "20",
    ]
    flags += [
        "--save_steps",
        "20",
        "--max_length",
        "11",
        "--learning_rate",
        "1e-2",
        "--slot_loss_weight",
        "2",
    ]
    flags += ["--focal_gamma", "1", "--rdrop_alpha", "0.5", "--gradient_accumulation_steps", "2"]
    for split in ("train", "validation", "test"):
        flags += [f"--{split}_file", slu_files[split]]
    done = run_ok("train.py", *topic_flags, *flags, "--output_dir", folder)
    assert "no training row has Unseen, S-new" in done.stderr
    return folder


@pytest.fixture(scope="module")
def slu_export(slu_checkpoint, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "slu"
    run_ok(
        "export.py",
        slu_checkpoint,
        "--output_dir",
        folder,
        "--max_metric_drop",
        "20",
        "--benchmark",
    )
    return folder


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def predict(model: Path, tmp_path: Path, *args, output: str = "answers.jsonl") -> Path:
    run_ok("predict.py", "--model", model, *args, "--output", tmp_path / output)
    return tmp_path / output


def token_rows(file: Path, path: Path) -> list[tuple[list[str], list[str], str]]:
    """The rows of a labelled file, and `path` with their tokens as jsonl."""
    rows = [
        tuple(row.values[name] for name in ("tokens", "slots", "intent"))
        for row in read_slot_file(str(file))
    ]
    lines = [json.dumps({"id": k, "tokens": tokens}) for k, (tokens, _, _) in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return rows


def test_training_leaves_metrics_plots_and_card(slu_checkpoint):
    metrics = json.loads((slu_checkpoint / "metrics.json").read_text())
    assert {f"{prefix}_{name}" for prefix in ("eval", "test") for name in JOINT_METRICS} <= set(
        metrics
    )
    assert metrics["test_intent_accuracy"] > 0.8 and metrics["test_slot_f1"] > 0.5, (
        "the words give them away"
    )
    assert (slu_checkpoint / "plots/confusion_matrix.png").is_file()
    card = (slu_checkpoint / "README.md").read_text(encoding="utf-8")
    assert "3 slots (`games`, `money`, `sports`)" in card and "Task `joint`" in card
    label_space = json.loads((slu_checkpoint / "config.json").read_text())["pipeline"][
        "label_space"
    ]
    assert (
        label_space["tags"][0] == "O"
        and len(label_space["tags"]) == 7
        and label_space["by_character"] is False
    )


def test_metrics_follow_from_the_answers(slu_checkpoint, slu_files, tmp_path):
    """Also for rows that were cut off, and for labels that no training row has."""
    metrics = json.loads((slu_checkpoint / "metrics.json").read_text())
    for split, prefix in (("validation", "eval"), ("test", "test")):
        rows = token_rows(slu_files[split], tmp_path / "in.jsonl")
        answers = read_jsonl(predict(slu_checkpoint, tmp_path, "--input", tmp_path / "in.jsonl"))
        assert [answer["id"] for answer in answers] == list(range(len(rows)))
        assert all(
            len(a["tags"]) == len(tokens) for a, (tokens, _, _) in zip(answers, rows, strict=True)
        )
        intents = [a["intent"] == intent for a, (_, _, intent) in zip(answers, rows, strict=True)]
        whole = [
            ok and a["tags"] == tags
            for ok, a, (_, tags, _) in zip(intents, answers, rows, strict=True)
        ]
        assert metrics[f"{prefix}_intent_accuracy"] == pytest.approx(np.mean(intents))
        assert metrics[f"{prefix}_sentence_accuracy"] == pytest.approx(np.mean(whole))
        cut_off = [a["tags"][9:] for a in answers if len(a["tags"]) > 9]
        assert cut_off and all(tag == "O" for tags in cut_off for tag in tags)


def test_a_text_gives_slots_with_their_place(slu_checkpoint, tmp_path):
    text = "the  special goal, today"
    (answer,) = read_jsonl(predict(slu_checkpoint, tmp_path, "--text", text))
    assert answer["text"] == text and "tags" not in answer
    assert answer["intent"] == "sports" and 0 < answer["intent_score"] <= 1
    assert answer["slots"] and all(
        text[s["start"] : s["end"]] == s["text"] for s in answer["slots"]
    )


def test_csv_and_screen(slu_checkpoint, slu_files, tmp_path):
    token_rows(slu_files["test"], tmp_path / "in.jsonl")
    path = predict(slu_checkpoint, tmp_path, "--input", tmp_path / "in.jsonl", output="answers.csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30 and list(rows[0]) == [
        "id",
        "text",
        "intent",
        "intent_score",
        "slots",
        "tags",
    ]
    assert len(json.loads(rows[3]["tags"])) == len(rows[3]["text"].split())
    shown = run_ok("predict.py", "--model", slu_checkpoint, "--text", "the special goal").stdout
    assert "intent" in shown and "sports" in shown


def test_evaluation_of_a_checkpoint_and_of_the_export(
    slu_checkpoint, slu_export, slu_files, tmp_path
):
    metrics = json.loads((slu_checkpoint / "metrics.json").read_text())
    flags = ["--do_train", "false", "--task", "joint", "--model_name_or_path", slu_checkpoint]
    run_ok("train.py", *flags, "--test_file", slu_files["test"], "--output_dir", tmp_path)
    again = json.loads((tmp_path / "eval_results.json").read_text())
    assert again == {name: metrics[name] for name in again} and len(again) == 3
    output = tmp_path / "a.jsonl"
    evaluate = ["--input", slu_files["test"], "--evaluate", "--output", output]
    run_ok("predict.py", "--model", slu_export, "--file_name", "model.onnx", *evaluate)
    found = json.loads(output.with_suffix(".metrics.json").read_text())
    assert found == pytest.approx(
        {f"eval_{name}": metrics[f"test_{name}"] for name in JOINT_METRICS}
    )
    assert len(read_jsonl(output)) == 30


def test_the_export_is_proven_on_both_heads(slu_checkpoint, slu_export, slu_files):
    assert check_complete(slu_export, ALL, [11])["notes"] == []
    report = json.loads((slu_export / "export_report.json").read_text())
    assert (
        report["passed"]
        and report["metric_name"] == "sentence_accuracy"
        and report["eval_rows"] == 31
    )
    assert (
        report["variants"][1]["max_logit_diff"] < 1e-3
        and report["variants"][1]["label_agreement"] == 1
    )
    probe = json.loads((slu_export / "probe.json").read_text())
    for row in probe["rows"]:
        shapes = {name: np.shape(values) for name, values in row["logits"]["int8"].items()}
        assert shapes == {"logits": (3,), "token_logits": (len(row["input_ids"]), 7)}
    assert [len(tolerances) for tolerances in probe["tolerance"].values()] == [2, 2]
    outputs = onnx.load(slu_export / "model.onnx").graph.output
    axes = {
        o.name: [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in outputs
    }
    assert list(axes) == ["logits", "token_logits"]
    assert axes["logits"][0] == "batch_size" and axes["token_logits"] == [
        "batch_size",
        "sequence_length",
        7,
    ]
    # on rows the gate has not seen, in batches of other sizes
    first = load_predictor(slu_checkpoint, batch_size=3)
    items, _ = words_and_labels(read_slot_file(str(slu_files["test"])), first.task)
    second = load_predictor(slu_export, batch_size=7, file_name="model.onnx")
    (a, b), (c, d) = first.logits(items), second.logits(items)
    assert np.abs(a - c).max() < 1e-4
    assert max(np.abs(x - y).max() for x, y in zip(b, d, strict=True)) < 1e-4


def test_auto_class_loads_both_heads(slu_checkpoint):
    model = AutoModelForSequenceClassification.from_pretrained(slu_checkpoint)
    assert model.token_head.out_features == 7 and model.head.out_features == 3


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--label_columns", "intent"], ["label_columns", "joint"]),
        (["--label_names", "a", "b"], ["label_names", "joint"]),
        (["--focal_gamma", "2", "--focal_alpha", "1", "2"], ["focal_alpha [1.0, 2.0]", "joint"]),
        (["--slot_loss_weight", "-1"], ["slot_loss_weight -1.0"]),
        (
            ["--task", "single_label", "--slot_loss_weight", "2"],
            ["slot_loss_weight 2.0", "single_label"],
        ),
        (["--metric_for_best_model", "f1_macro"], ["f1_macro", "sentence_accuracy"]),
    ],
)
def test_contradictions_are_refused(flags, words, topic_flags, slu_files, tmp_path):
    given = [
        "--task",
        "joint",
        "--train_file",
        slu_files["train"],
        "--validation_file",
        slu_files["validation"],
    ]
    given += ["--metric_for_best_model", "sentence_accuracy", *flags]
    done = run_script("train.py", *topic_flags, *given, "--output_dir", tmp_path / "x")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_a_malformed_tag_is_refused_with_its_place(topic_flags, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_text("a O\nb Q-x\nI\n", encoding="utf-8")
    given = [
        "--task",
        "joint",
        "--metric_for_best_model",
        "slot_f1",
        "--train_file",
        path,
        "--validation_file",
        path,
    ]
    done = run_script("train.py", *topic_flags, *given, "--output_dir", tmp_path / "x")
    assert done.returncode == 2 and "bad.txt, row 1 (line 2): 'Q-x' is not a tag" in done.stderr
