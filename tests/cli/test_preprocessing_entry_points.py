"""Cleaning, truncation and balancing from the flags to the answers: train, predict in a fresh process, export."""

import json
from collections import Counter

import numpy as np
import pytest

from tests.conftest import run_ok
from trainer_ext import fit, load_predictor
from trainer_ext.data.sampling.resample import Resampler
from trainer_ext.errors import UserError
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.run import export_model
from trainer_ext.training.trainer import CustomTrainer

FILLER = "the ＦＵＬＬ <b>width</b> middle of every text&#33;!!!!! "
FLAGS = {
    "from_scratch": "tiny",
    "config_overrides": "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64",
    "vocab_size": 200,
    "max_length": 12,
    "num_train_epochs": 3,
    "pooling": "mean",
    "per_device_train_batch_size": 8,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "learning_rate": 1e-2,
    "report_to": "none",
    "write_report": False,
    "group_by_length": True,
    "truncation": "head_tail",
    "truncation_head_share": 0.5,
    "truncation_marker": "every",
    "clean": ["html", "halfwidth", "repeated", "stopwords"],
    "balance": "oversample",
}


def rows(good: int, bad: int) -> list[dict]:
    """Texts whose class shows only at the end, behind much that is cut out."""
    labels = ["good"] * good + ["bad"] * bad
    return [
        {"text": f"row {k % 2} {FILLER * 6} {label}", "label": label}
        for k, label in enumerate(labels)
    ]


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    """A run on 40 good and 8 bad rows, 6 and 6 to evaluate on; what each batch held; and the seen resamplings."""
    folder = tmp_path_factory.mktemp("shaped")
    stopwords = folder / "words.txt"
    stopwords.write_text("the\nof\n")
    seen, drawn = [], []
    step, draw = CustomTrainer.training_step, Resampler.draw

    def spy(self, model, inputs, *rest):
        seen.extend(inputs["labels"].tolist())
        return step(self, model, inputs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CustomTrainer, "training_step", spy)
        patch.setattr(
            Resampler,
            "draw",
            lambda self, *args: [drawn.append(len(self.repeats)), draw(self, *args)][1],
        )
        run = fit(
            FLAGS,
            train_file=rows(40, 8),
            validation_file=rows(5, 7),
            stopwords_file=stopwords,
            output_dir=folder / "model",
        )
    stopwords.unlink()  # its content travels with the model
    return run, seen, drawn


def test_only_the_training_part_is_balanced(shaped):
    """40 rows of each class in each of three epochs of ten steps; the 12 validation rows count once each."""
    run, seen, drawn = shaped
    assert Counter(seen) == {0: 120, 1: 120} and set(drawn) == {48}
    assert run.metrics["global_step"] == 30
    state = json.loads((run.output_dir / "checkpoint-30/trainer_state.json").read_text())
    assert state["max_steps"] == 30 and state["epoch"] == 3
    entry = next(entry for entry in state["log_history"] if "eval_runtime" in entry)
    assert round(entry["eval_runtime"] * entry["eval_samples_per_second"]) == 12
    assert run.metrics["eval_accuracy"] == pytest.approx(
        round(run.metrics["eval_accuracy"] * 12) / 12
    )
    assert "balance: oversample" in (run.output_dir / "resolved_config.yaml").read_text()


def test_the_ends_of_the_texts_are_read(shaped):
    """What tells the classes apart stands behind `max_length`; the policy and the stop words are in the checkpoint."""
    run, *_ = shaped
    assert run.metrics["eval_accuracy"] == 1
    pipeline = json.loads((run.output_dir / "config.json").read_text())["pipeline"]
    assert pipeline["truncation"] == {"mode": "head_tail", "head_share": 0.5, "marker": "every"}
    assert pipeline["cleaning"] == {"steps": FLAGS["clean"], "stopwords": ["the", "of"]}


def test_a_fresh_process_and_the_export_answer_alike(shaped, tmp_path):
    """With the original text beside the answer; texts that the cleaning makes equal have equal logits."""
    run, *_ = shaped
    texts = [row["text"] for row in rows(3, 3)]
    plain = load_predictor(run.output_dir).logits(texts)
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run_ok(
        "predict.py",
        "--model",
        run.output_dir,
        "--input",
        source,
        "--output",
        tmp_path / "out.jsonl",
    )
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [answer["text"] for answer in answers] == texts
    assert [answer["label"] for answer in answers] == ["good"] * 3 + ["bad"] * 3
    expected = load_predictor(run.output_dir).predict(texts)
    assert [answer["probabilities"] for answer in answers] == [
        answer["probabilities"] for answer in expected
    ]

    onnx = tmp_path / "onnx"
    validation = run.output_dir / "data/validation.jsonl"
    report = export_model(ExportOptions(run.output_dir, onnx, str(validation), 50.0, None, False))
    assert report.passed
    exported = load_predictor(onnx, file_name="model.onnx")
    assert np.abs(exported.logits(texts) - plain).max() < 1e-4
    cleaned = [
        text.replace("ＦＵＬＬ", "FULL").replace("&#33;!!!!!", "!!!").replace("the ", "")
        for text in texts
    ]
    assert exported.logits(cleaned).tolist() == exported.logits(texts).tolist()


def test_a_marker_without_room_is_one_clear_error(tmp_path):
    with pytest.raises(
        UserError,
        match="max_length 12 has no room for a head and a tail .* truncation_marker 'a b c",
    ):
        fit(
            FLAGS | {"clean": None, "truncation_marker": "a b c d e f g h i j k"},
            train_file=rows(3, 3),
            validation_file=rows(1, 1),
            output_dir=tmp_path,
        )
