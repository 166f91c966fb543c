"""The stage `native` of an export: what it writes, when it leaves that out, and what becomes of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import run_script
from tests.export.native.conftest import export, found, needs_exporter, needs_library
from tests.families import some_texts
from trainer_ext.export import native as stage_module
from trainer_ext.export.graph.onnx_graph import load_graph
from trainer_ext.export.graph.optimise import fuse_for_runtime
from trainer_ext.export.members import export_members
from trainer_ext.export.native.functions import NotRecognised
from trainer_ext.export.native.write import write_native
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.quantise import Int8Setting, quantise
from trainer_ext.inference import load_predictor
from trainer_ext.inference.native import library as library_module
from trainer_ext.inference.native.library import library_here
from trainer_ext.tracking.artifacts.publish import artifact_files

pytestmark = needs_exporter["optimum"]
TEXTS = some_texts(16)
PLAN, HEAD = "native/encoder.json", "native/head.onnx"


def stage_of(folder: Path) -> dict:
    """What the report on the disk says of the stage."""
    report = json.loads((folder / "export_report.json").read_text())
    (stage,) = [stage for stage in report["stages"] if stage["name"] == "native"]
    return stage


@needs_library
def test_what_is_written(exported):
    """The weights stay in the INT8 file: the head is small, and reads no layer."""
    assert (exported / PLAN).is_file()
    assert (exported / HEAD).stat().st_size < (exported / "model_quantized.onnx").stat().st_size / 4
    details = stage_of(exported)["details"]
    assert details["layers"] == 2 and details["compiled for"] == library_here().target
    assert 0 <= details["difference"] <= details["allowed"]
    content = json.loads((exported / PLAN).read_text())
    assert content["is_pair_safe"] is True and content["head_size"] == 8
    assert content["bytes"] == (exported / "model_quantized.onnx").stat().st_size


@needs_library
def test_a_plan_that_answers_otherwise_is_left_out(checkpoint, rows, tmp_path, monkeypatch):
    """Here its attention is wrong; ONNX Runtime serves."""

    def write_wrong(file: Path) -> int:
        layers = write_native(file)
        path = file.parent / PLAN
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"attention_scale": 9.0}))
        return layers

    monkeypatch.setattr(stage_module, "write_native", write_wrong)
    details = found(export(checkpoint, tmp_path / "onnx", rows))
    assert details["left out"] == "it answers otherwise than ONNX Runtime"
    assert details["difference"] > details["allowed"]
    assert not (tmp_path / "onnx/native").exists()
    assert "native" not in load_predictor(tmp_path / "onnx").description


def test_without_a_library_the_plan_is_written_for_others(checkpoint, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(library_module, "library_file", lambda target: tmp_path / "nowhere.so")
    library_here.cache_clear()
    try:
        details = found(export(checkpoint, tmp_path / "onnx", rows))
        assert "native" not in load_predictor(tmp_path / "onnx").description
    finally:
        library_here.cache_clear()
    assert details == {"layers": 2, "not run here": "no library is compiled for this CPU"}
    assert (tmp_path / "onnx" / PLAN).is_file()


@needs_library
@pytest.mark.parametrize("layout", ["flat", "hub"])
def test_both_layouts_and_a_second_export_without_it(layout, checkpoint, rows, tmp_path):
    out = tmp_path / "onnx"
    export(checkpoint, out, rows, layout=layout)
    native = load_predictor(out, num_threads=1)
    assert "(native, " in native.description
    assert {PLAN, HEAD} <= set(artifact_files_of(out))
    export(checkpoint, out, rows, layout=layout, skip=("native",))
    assert not (out / "native").exists()
    assert stage_of(out)["status"] == "skipped"
    runtime = load_predictor(out, num_threads=1)
    assert "native" not in runtime.description
    difference = native.logits(TEXTS) - runtime.logits(TEXTS)
    assert np.abs(difference).max() < 0.2 * runtime.logits(TEXTS).std()


def artifact_files_of(folder: Path) -> list[str]:
    """The names of what an artifact of the export would hold."""
    (folder / "metrics.json").write_text("{}")
    return list(artifact_files(folder))


@pytest.mark.parametrize(
    "skip, reason",
    [
        (("attention",), "is not read by an Attention"),
        (("qkv",), "products in 8 bits at the start of a layer"),
    ],
)
def test_passes_that_it_needs(skip, reason, checkpoint, rows, tmp_path):
    details = found(export(checkpoint, tmp_path / "onnx", rows, skip=skip))
    assert reason in details["not recognised"]
    assert "native" not in load_predictor(tmp_path / "onnx").description


@needs_library
def test_verification_of_an_export(checkpoint, exported, rows, tmp_path):
    """Runs what would answer."""
    folder = shutil.copytree(exported, tmp_path / "onnx")
    done = run_script(
        "export.py", "--verify", folder, "--eval_file", rows, "--max_metric_drop", "100"
    )
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((folder / "export_report.json").read_text())["verifications"]
    assert entry["passed"]
    assert {"onnx", "int8"} <= {variant["name"] for variant in entry["variants"]}


def test_a_product_in_fp32(exported, tmp_path):
    """As the search leaves one where INT8 throughout is refused: which one does not matter."""
    source = tmp_path / "model.onnx"
    fuse_for_runtime(exported / "model.onnx", source)
    names = [node.name for node in load_graph(source).nodes if node.op_type == "MatMul"]
    of_layers = [name for name in names if "layer" in name]
    assert len(of_layers) == 2 * 4 + 1, "two layers, and a query of its own in the last"
    for number, name in enumerate(of_layers):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = quantise(source, folder, Int8Setting("one in FP32", fp32_nodes=frozenset([name])))
        with pytest.raises(NotRecognised):
            write_native(file)
        assert not (folder / "native").exists()


def test_weights_that_may_overflow_16_bits(checkpoint, rows, tmp_path):
    """The plan says so, and AVX2 alone does not run them."""
    report = export(checkpoint, tmp_path / "onnx", rows, skip=("exact_weights",))
    assert found(report)["layers"] == 2
    assert json.loads((tmp_path / "onnx" / PLAN).read_text())["is_pair_safe"] is False


@needs_library
def test_folds(checkpoint, rows, tmp_path):
    """Each has a plan of its own; they answer together."""
    folds = tmp_path / "folds"
    for number in range(2):
        shutil.copytree(checkpoint, folds / f"fold-{number}")
    (folds / "folds.json").write_text(json.dumps({"folds": 2, "fold_repeats": 1}))
    (folds / "cv.json").write_text("{}")
    options = ExportOptions(folds, tmp_path / "onnx", str(rows), max_metric_drop=100)
    export_members(options, [folds / "fold-0", folds / "fold-1"])
    one = load_predictor(tmp_path / "onnx/fold-1", num_threads=1)
    assert "(native, " in one.description
    both = load_predictor(tmp_path / "onnx", num_threads=2)
    for answer, expected in zip(both.predict(TEXTS), one.predict(TEXTS), strict=True):
        assert answer["label"] == expected["label"]
