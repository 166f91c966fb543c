"""Every family of encoders through the whole export: our checkpoint and a plain classifier, equal to PyTorch."""

from importlib.util import find_spec

import numpy as np
import onnx
import pytest

from tests.families import FAMILIES, STUDENTS, save_ours, save_plain, save_rows, some_texts
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.export.gate import ONNX_TOLERANCE
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.run import export_model
from trainer_ext.export.verify import verify_export
from trainer_ext.files import read_json
from trainer_ext.inference import load_predictor
from trainer_ext.inference.onnx_session import session_options

CHECKPOINTS = {"ours": save_ours, "plain": save_plain}
NOT_IN_OPTIMUM = {"ernie"}
# Each family goes through the quick suite once; the others are run with the slow tests.
QUICK = {
    "ours": ("bert", "deberta-v2", "albert", "modernbert", "mpnet"),
    "plain": ("roberta", "electra", "distilbert", "deberta-v2", "xlm-roberta"),
}
# What the passes of the graph stage find, if any: ModernBERT has one product for Q, K and V already, and turns them.
WITHOUT_QKV = {"modernbert"}
# Scores that more than padding is added to do not become the operator Attention.
WITHOUT_ATTENTION = {"deberta-v2", "modernbert", "mpnet"}
needs = {
    "optimum": pytest.mark.skipif(find_spec("optimum") is None, reason="no Optimum here"),
    "torch": pytest.mark.skipif(find_spec("onnxscript") is None, reason="no onnxscript here"),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return save_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


def cases() -> list:
    """Every family and kind of checkpoint under each exporter; torch's takes long."""
    found = []
    for exporter, mark in needs.items():
        for name in FAMILIES:
            if exporter == "optimum" and name in NOT_IN_OPTIMUM:
                continue
            for kind in CHECKPOINTS:
                marks = [mark]
                if exporter == "torch" or name not in QUICK[kind]:
                    marks.append(pytest.mark.slow)
                found.append(pytest.param(name, kind, exporter, marks=marks))
    return found


@pytest.mark.parametrize("family, kind, exporter", cases())
def test_a_family_is_exported_proven_and_answers(family, kind, exporter, rows, tmp_path):
    checkpoint = CHECKPOINTS[kind](tmp_path / "checkpoint", family)
    out = tmp_path / "onnx"
    # Random models answer by chance, so that only their logits are judged.
    report = export_model(
        ExportOptions(checkpoint, out, str(rows), max_metric_drop=100, exporter=exporter)
    )
    assert report.passed, [variant.why for variant in report.variants]
    assert report.variant("onnx").max_relative_diff < ONNX_TOLERANCE
    stages = {stage.name: stage for stage in report.stages}
    assert stages["onnx"].details["exporter"] == exporter
    places = stages["graph"].details
    assert places["constants"] > 0 and places["first_token"] > 0
    assert (places["qkv"] != "nothing to change") is (family not in WITHOUT_QKV)
    if not TRANSFORMERS_5:  # which makes its masks in other ways
        fused = 0 if family in WITHOUT_ATTENTION else 2
        model = onnx.load(out / "model_quantized.onnx")
        assert sum(node.op_type == "Attention" for node in model.graph.node) == fused
    # Other texts than those of the gate, longer ones too, whatever else is in the batch.
    texts = [*some_texts(40)[24:], " ".join(some_texts(8))]
    pytorch = load_predictor(checkpoint, num_threads=1)
    reference = pytorch.logits(texts)
    spread = reference.std()
    exported = load_predictor(out, num_threads=1, file_name="model.onnx")
    assert np.abs(exported.logits(texts) - reference).max() < ONNX_TOLERANCE * spread
    answers = exported.predict(texts)
    for answer, expected in zip(answers, pytorch.predict(texts), strict=True):
        assert answer["label"] == expected["label"]
        assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)
    int8 = load_predictor(out, num_threads=1, file_name="model_quantized.onnx")
    difference = int8.logits(texts) - reference
    assert np.sqrt((difference**2).mean()) < 0.25 * spread


@pytest.mark.parametrize(
    "exporter",
    [
        pytest.param("optimum", marks=needs["optimum"]),
        pytest.param("torch", marks=[needs["torch"], pytest.mark.slow]),
    ],
)
@pytest.mark.parametrize("student", STUDENTS)
def test_a_student_is_exported_proven_and_answers(student, exporter, rows, tmp_path):
    checkpoint = save_ours(tmp_path / "checkpoint", student)
    out = tmp_path / "onnx"
    report = export_model(
        ExportOptions(checkpoint, out, str(rows), max_metric_drop=100, exporter=exporter)
    )
    assert report.passed, [variant.why for variant in report.variants]
    assert {stage.name: stage for stage in report.stages}["onnx"].details["exporter"] == exporter
    # Of one token, and longer than the example that was traced.
    texts = [*some_texts(40)[24:], "good", " ".join(some_texts(8))]
    reference = load_predictor(checkpoint, num_threads=1).logits(texts)
    spread = reference.std()
    exported = load_predictor(out, num_threads=1, file_name="model.onnx")
    assert np.abs(exported.logits(texts) - reference).max() < ONNX_TOLERANCE * spread
    int8 = load_predictor(out, num_threads=1, file_name="model_quantized.onnx")
    assert np.sqrt(((int8.logits(texts) - reference) ** 2).mean()) < 0.25 * spread
    model = onnx.load(out / "model_quantized.onnx")
    tables = [tensor for tensor in model.graph.initializer if tensor.name.endswith("_rows")]
    assert len(tables) == {"bilstm_encoder": 1, "static_encoder": 2}[student]
    lstms = [node for node in model.graph.node if node.op_type == "DynamicQuantizeLSTM"]
    assert len(lstms) == {"bilstm_encoder": 2, "static_encoder": 0}[student]


PLAIN_TASKS = {
    "multi_label_classification": (
        {"id2label": {0: "bad", 1: "good", 2: "odd"}, "label2id": {}},
        '{"review": "good food", "tags": ["good", "odd"]}\n{"review": "a bad bed", "tags": []}\n'
        '{"review": "cold view", "tags": ["2"]}\n',
        ("tags",),
        "labels",
    ),
    "regression": (
        {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}},
        '{"review": "good food", "tags": 3.5}\n{"review": "a bad bed", "tags": 1}\n',
        ("tags",),
        "scores",
    ),
    None: (
        {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}},
        '{"review": "good food", "tags": "good"}\n{"review": "a bad bed", "tags": 0}\n',
        ("tags",),
        "label",
    ),
}


@needs["optimum"]
@pytest.mark.parametrize("problem", PLAIN_TASKS)
def test_an_architecture_of_plain_transformers_for_each_problem(problem, tmp_path):
    """The export says what the config did not, and answers without transformers."""
    labels, lines, columns, key = PLAIN_TASKS[problem]
    checkpoint = save_plain(tmp_path / "plain", "distilbert", problem_type=problem, **labels)
    file = tmp_path / "dev.jsonl"
    file.write_text(lines, encoding="utf-8")
    out = tmp_path / "onnx"
    report = export_model(
        ExportOptions(
            checkpoint,
            out,
            str(file),
            max_metric_drop=10_000,
            text_column="review",
            label_columns=columns,
            exporter="optimum",
        )
    )
    assert report.variant("onnx").good
    config = read_json(out / "config.json")
    assert config["model_type"] == "distilbert" and config["problem_type"] is not None
    assert config["pipeline"]["text_column"] == "review"
    assert config["pipeline"]["label_space"]["columns"] == ["tags"]
    texts = some_texts(8)
    exported = load_predictor(out, file_name="model.onnx")
    checked = load_predictor(checkpoint)
    np.testing.assert_allclose(exported.logits(texts), checked.logits(texts), atol=1e-5)
    assert key in exported.predict(texts)[0]


@needs["optimum"]
def test_a_plain_checkpoint_is_verified_as_it_was_exported(tmp_path):
    """Task and columns are given to the export once."""
    labels, lines, columns, _ = PLAIN_TASKS["multi_label_classification"]
    checkpoint = save_plain(tmp_path / "plain", "distilbert", problem_type=None, **labels)
    file = tmp_path / "dev.jsonl"
    file.write_text(lines, encoding="utf-8")
    export_model(
        ExportOptions(
            checkpoint,
            tmp_path / "onnx",
            str(file),
            max_metric_drop=10_000,
            task="multi_label",
            text_column="review",
            label_columns=columns,
        )
    )
    (found,) = verify_export(tmp_path / "onnx", eval_file=str(file)).values()
    assert (found.reference, found.eval_rows, found.passed) == ("pytorch", 3, True)


@needs["optimum"]
@pytest.mark.parametrize("layout, place", [("flat", {}), ("hub", {"subfolder": "onnx"})])
def test_optimum_loads_the_export_of_an_architecture(layout, place, rows, tmp_path):
    """ORTModelForSequenceClassification and transformers' pipeline, with the names of the checkpoint."""
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    checkpoint = save_plain(tmp_path / "plain", "electra")
    out = tmp_path / "onnx"
    export_model(ExportOptions(checkpoint, out, str(rows), max_metric_drop=100, layout=layout))
    model = ORTModelForSequenceClassification.from_pretrained(out, file_name="model.onnx", **place)
    tokenizer = AutoTokenizer.from_pretrained(out)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    theirs = pipeline("text-classification", model=str(checkpoint))
    for text in some_texts(6):
        ours, expected = classify(text)[0], theirs(text)[0]
        assert ours["label"] == expected["label"]
        assert ours["score"] == pytest.approx(expected["score"], abs=1e-4)
    # INT8, whose file is of opset 23: with our session's options it answers as ours.
    int8 = ORTModelForSequenceClassification.from_pretrained(
        out, file_name="model_quantized.onnx", session_options=session_options(1, True), **place
    )
    own = load_predictor(out, 1, file_name="model_quantized.onnx", runtime="onnx")
    for text in some_texts(6):
        logits = int8(**tokenizer(text, return_tensors="np")).logits
        np.testing.assert_array_equal(logits, own.logits([text]))
