"""An export that goes through the gate once more; reports that show what was tried."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import run_script
from tests.export.test_search import gate_of
from trainer_ext.errors import UserError
from trainer_ext.export.certainty import how_sure
from trainer_ext.export.frontier import frontier_table, markdown
from trainer_ext.export.quantise import Int8Setting
from trainer_ext.export.report import build_report, report_table
from trainer_ext.export.run import write_report
from trainer_ext.export.verify import verify_export


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An export whose INT8 keeps one node in FP32, without its checkpoint; its rows are in `rows.csv` beside it."""
    root = tmp_path_factory.mktemp("verify")
    gate = gate_of(root / "onnx", outlier=3000)
    choice = gate.choose()
    onnx = gate_variant(gate)
    report = build_report([gate.pytorch, onnx, choice.variant], "f1_macro", 200, 0.5, 1)
    report.frontier = choice.tried
    report.deltas = choice.deltas
    report.how_sure = how_sure(choice.variant, gate.onnx_predictor.task, 0.5, "")
    write_report(root / "onnx", report)
    classes = gate.onnx_predictor.task.label_space.classes
    lines = ["review,label\n"]
    for text, label in zip(gate.rows.texts, gate.rows.labels, strict=True):
        lines.append(f"{text},{classes[label]}\n")
    (root / "rows.csv").write_text("".join(lines))
    return root, report


def gate_variant(gate):
    """The float file's variant."""
    from trainer_ext.export.gate import judge_onnx, run_variant

    variant, _ = run_variant("onnx", gate.onnx_path, gate.onnx_predictor, gate.rows, gate.reference)
    judge_onnx(variant)
    return variant


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy of the export that a test may spoil, with `rows.csv` beside it."""
    root, _ = exported
    shutil.copytree(root, tmp_path / "copy")
    return tmp_path / "copy/onnx"


def content(folder: Path) -> dict:
    return json.loads((folder / "export_report.json").read_text(encoding="utf-8"))


# --- the report -------------------------------------------------------------------------------------------------------


def test_every_setting_tried_is_in_the_report(exported):
    root, _ = exported
    report = content(root / "onnx")
    first, second = report["frontier"]
    assert report["chosen"] == "int8" and (first["chosen"], second["chosen"]) == (False, True)
    assert second["fp32_nodes"] == ["/layer.1/down/MatMul"]
    for tried in (first, second):
        assert tried["bytes"] > 0 and tried["latency_ms_p50"] > 0
        assert {"metric", "mean_logit_diff", "label_agreement", "good", "why"} <= set(tried)
        assert {"points", "low", "high", "p_value", "rows", "changed"} <= set(tried["loss"])
    assert report["variants"][-1]["setting"] == second["setting"]
    names = {delta["metric"] for delta in report["deltas"]}
    assert names == {"accuracy", "f1_macro", "f1_neg", "f1_neutral", "f1_pos"}
    sure = report["how_sure"]
    assert sure["rows"] == 200 and sure["confidence"] == 0.95
    assert sure["loss_at_most"] == pytest.approx(report["variants"][-1]["loss"]["high"])
    assert sure["words"].startswith(
        f"with 200 rows a loss of up to {sure['loss_at_most']:.1f} points cannot be excluded"
    )


def test_tables_name_the_chosen_setting(exported):
    _, report = exported
    chosen = "INT8 embeddings and MatMuls, 1 of 7 MatMuls in FP32"
    assert f"chosen: {chosen}" in report_table(report)
    lines = frontier_table(report).splitlines()
    assert lines[-1].startswith(chosen) and lines[-1].endswith("chosen")
    assert "the metric drops by" in lines[-2]
    assert "points lost (95%)" in lines[0]


def test_markdown_and_picture(exported):
    root, report = exported
    text = (root / "onnx/export_report.md").read_text(encoding="utf-8")
    assert text == markdown(report)
    assert "lose more than 0.5 points of f1_macro" in text
    assert "How sure: with 200 rows" in text and "`/layer.1/down/MatMul` in FP32" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in rows[:4]}) == 1, "as many cells as headers"
    with Image.open(root / "onnx/export_report.png") as picture:
        assert picture.width > 800 and picture.height > 300
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20, "not an empty sheet"


def test_names_from_data_cannot_break_the_markdown(exported):
    from trainer_ext.export.deltas import Delta

    _, report = exported
    before, report.deltas = report.deltas, [Delta("f1_a|b`\n<b>", 1, 0, 100, 50, 100)]
    try:
        line = next(line for line in markdown(report).splitlines() if "f1_a" in line)
    finally:
        report.deltas = before
    assert "a\\|b" in line and line.count(" | ") == 3 and "`` f1_a" in line


# --- verify -----------------------------------------------------------------------------------------------------------


def test_an_export_is_verified_again_and_again(folder):
    """Without the checkpoint the float file is what INT8 is compared with; the first verdict stays."""
    before = content(folder)
    rows = str(folder.parent / "rows.csv")
    (verification,) = verify_export(folder, eval_file=rows).values()
    assert verification.passed and verification.reference == "onnx"
    assert verification.eval_rows == 200 and verification.max_metric_drop == 0.5
    assert [variant.name for variant in verification.variants] == ["onnx", "int8"]
    assert all(variant.latency_ms_p50 > 0 for variant in verification.variants)
    assert "the checkpoint is not here" in verification.notes[0]
    int8 = verification.variants[-1]
    assert 0 < int8.rms_relative_diff < 0.1 and int8.setting == before["variants"][-1]["setting"]
    verify_export(folder, eval_file=rows, max_eval_samples=50)
    after = content(folder)
    first, second = after.pop("verifications")
    assert after == before
    assert (first["eval_rows"], second["eval_rows"]) == (200, 50)
    assert first["instruction_set"] == before["instruction_set"] and first["passed"] is True
    assert {"onnxruntime", "torch"} <= set(first["versions"])
    assert first["date"] <= second["date"] and first["date"].endswith("+00:00")


def test_an_int8_that_answers_otherwise_here_does_not_pass(folder):
    """A file of the same size that is harmful."""
    report = content(folder)
    worse = gate_of(folder.parent / "worse", outlier=3000)
    worse.attempt(Int8Setting("all"))
    path = folder.parent / "worse/model_quantized.onnx"
    shutil.copy(path, folder / "model_quantized.onnx")
    report["variants"][-1]["bytes"] = path.stat().st_size
    (folder / "export_report.json").write_text(json.dumps(report))
    (found,) = verify_export(folder, eval_file=str(folder.parent / "rows.csv")).values()
    assert not found.passed and found.variants[0].good
    assert "the metric drops by" in found.variants[-1].why
    assert content(folder)["passed"] is True, "the first verdict stays"


def test_a_file_that_is_not_the_reported_one(folder):
    shutil.copy(folder / "model.onnx", folder / "model_quantized.onnx")
    (found,) = verify_export(folder, eval_file=str(folder.parent / "rows.csv")).values()
    assert not found.passed and "it is another file" in found.variants[-1].why


@pytest.mark.parametrize(
    "spoil, why",
    [
        (lambda path: path.write_bytes(b"not a model"), "cannot be loaded"),
        (lambda path: path.write_bytes(path.read_bytes()[:-900]), "cannot be loaded"),
        (lambda path: path.unlink(), "is not there"),
    ],
)
@pytest.mark.parametrize("name", ["model_quantized.onnx", "model.onnx"])
def test_a_broken_file_ends_with_1(folder, spoil, why, name):
    spoil(folder / name)
    done = run_script("export.py", "--verify", folder, "--eval_file", folder.parent / "rows.csv")
    assert done.returncode == 1, done.stderr
    assert "NOT passed" in done.stdout and why in done.stdout and "Traceback" not in done.stderr
    (kept,) = content(folder)["verifications"]
    assert kept["passed"] is False


def test_what_was_refused_at_export_does_not_fail_the_verification(folder):
    """The float file was chosen, and it is good here."""
    report = content(folder)
    report["chosen"] = "onnx"
    report["variants"][-1] |= {"good": False, "why": "x"}
    (folder / "export_report.json").write_text(json.dumps(report))
    (folder / "model_quantized.onnx").write_bytes(b"")
    (found,) = verify_export(folder, eval_file=str(folder.parent / "rows.csv")).values()
    assert found.passed and not found.variants[-1].good


def test_the_command(folder):
    rows = folder.parent / "rows.csv"
    done = run_script("export.py", "--verify", folder, "--eval_file", rows)
    assert done.returncode == 0, done.stderr
    assert "Passed: onnx on 200 rows" in done.stdout and "how sure: with 200 rows" in done.stdout
    assert "note: the checkpoint is not here" in done.stdout


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--verify", "{folder}", "runs/x"], "are both given"),
        (["--verify", "{folder}", "--output_dir", "out"], "--output_dir has no effect"),
        (["--verify", "{folder}", "--also", "ort"], "--also has no effect"),
        (["--verify", "{folder}"], "no rows to verify"),
        (["--verify", "{folder}", "--encoding", "gb18030"], "has no effect without --eval_file"),
        (["--verify", "{folder}/nothing"], "is not an export"),
        (["--verify", "{folder}", "--max_metric_drop", "nan"], "nan is not a number of points"),
        ([], "give MODEL, or --verify DIR"),
        (["{folder}"], "--output_dir is missing"),
        (["{folder}", "--output_dir", "out", "--max_metric_drop", "nan"], "nan is not"),
        (["{folder}", "--output_dir", "out", "--encoding", "cp1252"], "without --eval_file"),
    ],
)
def test_contradictions(folder, flags, message):
    before = content(folder)
    done = run_script("export.py", *[flag.format(folder=folder) for flag in flags])
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and content(folder) == before


@pytest.mark.parametrize("report", ["[]", "{}", '{"variants": [1], "chosen": "x"}'])
def test_a_folder_without_a_report_is_refused(folder, report):
    (folder / "export_report.json").write_text(report)
    with pytest.raises(UserError, match="is not an export report"):
        verify_export(folder, eval_file="rows.csv")
