"""The students through the three scripts: train, folds, resume, export, predict, and plain `from_pretrained`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_ok, run_script
from trainer_ext.inference import load_predictor

SIZES = {
    "bilstm": "embedding_size=32,hidden_size=32",
    "static": "hidden_size=32,num_buckets=4096",
}
POOLING = {"bilstm": "attention", "static": "mean_hidden"}
TEXTS = ["the team wins a match", "stock price of the bank", "quest"]


def student_flags(topic_flags: list, student: str) -> list:
    """The topic flags with a student, and its own pooling."""
    flags = list(topic_flags)
    place = flags.index("--pooling")
    del flags[place : place + 2]
    flags += ["--from_scratch", student, "--config_overrides", SIZES[student]]
    steps = ["--max_steps", "60", "--eval_steps", "30", "--save_steps", "30"]
    return [*flags, "--learning_rate", "2e-2", *steps]


@pytest.fixture(scope="module", params=SIZES)
def student(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def flags(student, topic_flags) -> list:
    return student_flags(topic_flags, student)


@pytest.fixture(scope="module")
def checkpoint(flags, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "model"
    run_ok("train.py", *flags, "--output_dir", folder)
    return folder


def test_trained_with_its_own_pooling(student, checkpoint):
    metrics = json.loads((checkpoint / "metrics.json").read_text())
    assert metrics["eval_accuracy"] > 0.9, "the words give the classes away"
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["pooling"] == POOLING[student]
    assert config["encoder"]["model_type"] == f"{student}_encoder"


def test_exported_and_answers_as_the_checkpoint(checkpoint, topic_files, tmp_path):
    out = tmp_path / "onnx"
    run_ok("export.py", checkpoint, "--output_dir", out, "--eval_file", topic_files["validation"])
    report = json.loads((out / "export_report.json").read_text())
    assert report["passed"] and report["chosen"] == "int8"
    file = tmp_path / "answers.jsonl"
    run_ok("predict.py", "--model", out, "--text", *TEXTS, "--output", file)
    answers = [json.loads(line) for line in file.read_text().splitlines()]
    expected = load_predictor(checkpoint).predict(TEXTS)
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in expected]
    assert [answer["label"] for answer in answers[:2]] == ["sports", "money"]


@pytest.mark.slow
def test_plain_from_pretrained_in_a_fresh_process(checkpoint):
    code = (
        "import sys, json, trainer_ext\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
        "folder, texts = sys.argv[1], json.loads(sys.argv[2])\n"
        "model = AutoModelForSequenceClassification.from_pretrained(folder).eval()\n"
        "inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors='pt')\n"
        "print(json.dumps(model(**inputs).logits.tolist()))\n"
    )
    command = [sys.executable, "-c", code, str(checkpoint), json.dumps(TEXTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    for row, expected in zip(found, load_predictor(checkpoint).logits(TEXTS), strict=True):
        assert row == pytest.approx(expected, abs=1e-5)


def test_trained_on_with_the_pooling_it_has(student, flags, checkpoint, tmp_path):
    more = ["--model_name_or_path", checkpoint, "--output_dir", tmp_path / "more"]
    run_ok("train.py", *without_scratch(flags), *more)
    metrics = json.loads((tmp_path / "more/metrics.json").read_text())
    assert metrics["eval_accuracy"] > 0.9
    config = json.loads((tmp_path / "more/config.json").read_text())
    assert config["pooling"] == POOLING[student]


@pytest.mark.slow
def test_folds(topic_flags, tmp_path):
    """A process for each, as for any encoder."""
    flags = student_flags(topic_flags, "static")
    place = flags.index("--validation_file")
    del flags[place : place + 2]
    run_ok("train.py", *flags, "--folds", "2", "--output_dir", tmp_path)
    assert json.loads((tmp_path / "cv.json").read_text())["mean"]


def without_scratch(flags: list) -> list:
    """The flags without those of an encoder from scratch."""
    kept = []
    pairs = zip(flags[::2], flags[1::2], strict=True)
    for name, value in pairs:
        if name not in ("--from_scratch", "--config_overrides"):
            kept += [name, value]
    return kept


@pytest.mark.parametrize(
    "student, override, message",
    [
        ("bilstm", "hidden_size=31", "hidden_size 31 cannot be halved"),
        ("bilstm", "num_hidden_layers=2", "'num_hidden_layers=2' is not a name=value"),
        ("bilstm", "vocab_size=6", "vocab_size 6 is less than the"),
        ("static", "max_ngram=9", "max_ngram 9 is more than 5"),
        ("static", "num_buckets=0", "num_buckets 0 is less than 1"),
    ],
)
def test_sizes_that_cannot_be(student, override, message, topic_flags, tmp_path):
    flags = [*student_flags(topic_flags, student), "--config_overrides", override]
    done = run_script("train.py", *flags, "--output_dir", tmp_path / "out")
    assert done.returncode == 2 and message in done.stderr
    assert "Traceback" not in done.stderr


def test_gradient_checkpointing_of_a_checkpoint_is_refused(flags, checkpoint, tmp_path):
    more = ["--model_name_or_path", checkpoint, "--gradient_checkpointing", "true"]
    done = run_script("train.py", *without_scratch(flags), *more, "--output_dir", tmp_path / "out")
    assert done.returncode == 2 and "gradient_checkpointing" in done.stderr
    assert "Traceback" not in done.stderr
