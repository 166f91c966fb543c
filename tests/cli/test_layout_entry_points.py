"""`--layout hub` through the real entry points; Optimum reads both layouts to the answers of ours."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import run_ok
from tests.export.test_layout import files_of
from tests.versions import needs_optimum
from trainer_ext.inference import load_predictor

TEXTS = ["team match goal", "the stock of a bank", "a new quest today says the player"]


@pytest.fixture(scope="module")
def hub_export(topic_checkpoint, tmp_path_factory) -> Path:
    """An export in the layout of the Hub, over one that was flat; do not change it."""
    folder = tmp_path_factory.mktemp("exports") / "hub"
    folder.mkdir()
    for name in ("model.onnx", "model_quantized.onnx", "vocab.txt"):
        (folder / name).write_text("of an earlier export")
    # Thirty rows: one flipped label is three points.
    flags = ("--output_dir", folder, "--max_metric_drop", "10", "--layout", "hub")
    flags += ("--also", "fp16", "ort")
    shown = run_ok("export.py", topic_checkpoint, *flags).stdout
    assert f"Use {folder}/onnx/model_quantized.onnx" in shown
    return folder


def test_the_hub_layout_has_no_file_twice(hub_export):
    names = files_of(hub_export)
    assert {"onnx/model.onnx", "onnx/model_quantized.onnx", "config.json"} <= set(names)
    assert {"tokenizer.json", "tokenizer_config.json", "export_report.json"} <= set(names)
    assert not {"model.onnx", "model_quantized.onnx", "vocab.txt"} & set(names)
    report = json.loads((hub_export / "export_report.json").read_text())
    assert "prefix ## of this tokenizer" in report["notes"][-1]
    names = [variant["name"] for variant in report["variants"]]
    assert names == ["pytorch", "onnx", "int8", "fp16", "ort"]
    assert all(variant["good"] for variant in report["variants"])
    for variant in report["variants"][1:]:
        assert (hub_export / variant["file"]).stat().st_size == variant["bytes"]


def test_predict_reads_it(hub_export, tmp_path):
    """By the report's choice, and by a file's name in either spelling."""
    answers = []
    for flags in ((), ("--file_name", "model.onnx"), ("--file_name", "onnx/model.onnx")):
        output = tmp_path / "answers.jsonl"
        run_ok("predict.py", "--model", hub_export, *flags, "--text", *TEXTS, "--output", output)
        lines = output.read_text(encoding="utf-8").splitlines()
        answers.append([json.loads(line) for line in lines])
    assert answers[1] == answers[2]
    for quantised, floating in zip(answers[0], answers[1], strict=True):
        assert quantised["score"] == pytest.approx(floating["score"], abs=0.05)
        assert quantised["label"] == floating["label"]


@needs_optimum
@pytest.mark.parametrize("name", ["model.onnx", "model_quantized.onnx"])
def test_optimum_answers_as_we_do(hub_export, name):
    """One text a run, as ours are; with the flat layout tests/cli/test_entry_points.py does this."""
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer

    model = ORTModelForSequenceClassification.from_pretrained(
        hub_export, subfolder="onnx", file_name=name
    )
    tokenizer = AutoTokenizer.from_pretrained(hub_export)
    theirs = []
    for text in TEXTS:
        outputs = model(**tokenizer(text, return_tensors="pt"))
        theirs.append(outputs.logits[0].numpy())
    ours = load_predictor(hub_export, 1, file_name=name, runtime="onnx").logits(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_prepared_file_is_the_int8_model(hub_export):
    """On the machine of its export it answers for the portable one in ONNX Runtime, to the bit."""
    prepared = load_predictor(hub_export, 1, runtime="onnx")
    assert prepared.session.file_name == "model_quantized.ort"
    portable = load_predictor(hub_export, 1, file_name="model_quantized.onnx", runtime="onnx")
    assert np.array_equal(prepared.logits(TEXTS), portable.logits(TEXTS))
    operators = (hub_export / "onnx/required_operators.config").read_text()
    assert "DynamicQuantizeMatMul" in operators


def test_half_precision_is_close_to_float(hub_export):
    """Proven on the CPU; a GPU runs it with `--provider cuda --file_name model_fp16.onnx`."""
    half = load_predictor(hub_export, 1, file_name="model_fp16.onnx").logits(TEXTS)
    whole = load_predictor(hub_export, 1, file_name="model.onnx").logits(TEXTS)
    np.testing.assert_allclose(half, whole, atol=5e-3)
    assert not np.array_equal(half, whole)
    sizes = [
        (hub_export / "onnx" / name).stat().st_size for name in ("model_fp16.onnx", "model.onnx")
    ]
    assert sizes[0] < sizes[1]
