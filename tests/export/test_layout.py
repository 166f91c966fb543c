"""Both layouts of an exported folder: what is written where, what reads them, and a change from one to the other."""

import json
import shutil
from pathlib import Path

import pytest

from tests.inference.conftest import expected_logits, save_int8, save_model, save_onnx
from trainer_ext.errors import UserError
from trainer_ext.export.gate import Variant
from trainer_ext.export.layout import arrange, notes_on
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.publish import publish
from trainer_ext.inference import load_predictor
from trainer_ext.inference.folder import chosen_file, model_file, recorded_dynamic_int8
from trainer_ext.inference.layout import model_folder
from trainer_ext.inference.memory import model_size
from trainer_ext.runs.output_dir import is_ours
from trainer_ext.tracking.artifacts.publish import artifact_files

TEXTS = ["good food", "bad staff"]
BESIDE_CONFIG = ["config.json", "export_report.json", "tokenizer.json"]


def fill(stage: Path, layout: str) -> Path:
    """A stage as the export leaves it: float and INT8, of which INT8 is chosen."""
    save_model(stage)
    save_int8(stage / "model_quantized.onnx")
    variants = [
        Variant("pytorch", "model.safetensors", 1, 0.9),
        Variant("onnx", "model.onnx", (stage / "model.onnx").stat().st_size, 0.9),
        Variant(
            "int8",
            "model_quantized.onnx",
            (stage / "model_quantized.onnx").stat().st_size,
            0.9,
            dynamic_int8=True,
        ),
    ]
    arrange(stage, variants, layout)
    entries = []
    for variant in variants:
        entries.append(
            {
                "name": variant.name,
                "file": variant.file,
                "bytes": variant.bytes,
                "dynamic_int8": variant.dynamic_int8,
            }
        )
    (stage / "export_report.json").write_text(json.dumps({"chosen": "int8", "variants": entries}))
    return stage


def files_of(folder: Path) -> list[str]:
    """All files of a folder, by their names in it."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def published(tmp_path: Path, layout: str, name: str = "model") -> Path:
    """An exported folder in a layout."""
    publish(fill(tmp_path / f"{name}-stage", layout), tmp_path / name)
    return tmp_path / name


def test_what_lies_where(tmp_path):
    """`hub`: the models in onnx/, all else at the root; names in the report are relative to the folder."""
    flat = published(tmp_path, "flat", "a")
    assert files_of(flat) == sorted([*BESIDE_CONFIG, "model.onnx", "model_quantized.onnx"])
    hub = published(tmp_path, "hub", "b")
    assert files_of(hub) == sorted([*BESIDE_CONFIG, "onnx/model.onnx", "onnx/model_quantized.onnx"])
    report = json.loads((hub / "export_report.json").read_text())
    assert [variant["file"] for variant in report["variants"]] == [
        "model.safetensors",
        "onnx/model.onnx",
        "onnx/model_quantized.onnx",
    ]


def test_weights_beside_the_graph_and_other_formats_move_along(tmp_path):
    """A model over 2 GB has its weights in a second file, found by its name beside the first."""
    names = ["model.onnx", "model.onnx_data", "model_fp16.onnx", "model_quantized.ort"]
    names += ["required_operators.config"]
    for name in [*names, "config.json", "tokenizer.json", "vocab.txt"]:
        (tmp_path / name).write_text(name)
    arrange(tmp_path, [], "hub")
    expected = [f"onnx/{name}" for name in names]
    assert files_of(tmp_path) == sorted([*expected, "config.json", "tokenizer.json", "vocab.txt"])
    assert (tmp_path / "onnx/model.onnx_data").read_text() == "model.onnx_data"


@pytest.mark.parametrize("layout", ["flat", "hub"])
def test_both_layouts_answer_alike(tmp_path, layout):
    """By the report, by a file's name in either spelling, without a report, and in an ensemble."""
    folder = published(tmp_path, layout)
    predictor = load_predictor(folder)
    assert predictor.session.file_name == "model_quantized.onnx"
    assert not predictor.session.batch_invariant, "the report tells that the file is dynamic INT8"
    for name in ("model.onnx", "onnx/model.onnx")[: 1 + (layout == "hub")]:
        logits = load_predictor(folder, file_name=name).logits(TEXTS)
        assert logits.tolist() == [expected_logits(text) for text in TEXTS]
    with pytest.raises(UserError, match=r"has no model_fp16\.onnx"):
        load_predictor(folder, file_name="model_fp16.onnx")
    other = published(tmp_path, "hub" if layout == "flat" else "flat", "other")
    together = load_predictor([folder, other], file_name="model.onnx")
    alone = load_predictor(folder, file_name="model.onnx")
    assert together.predict(TEXTS)[0]["label"] == alone.predict(TEXTS)[0]["label"]
    (folder / "export_report.json").unlink()
    assert chosen_file(folder) == "model_quantized.onnx"
    assert model_file(folder).name == "model_quantized.onnx"


def test_the_report_is_found_from_the_file(tmp_path):
    """Also where a flat folder is itself called onnx, as `--output_dir runs/onnx` makes it."""
    hub = published(tmp_path, "hub")
    assert model_folder(hub / "onnx/model.onnx") == hub
    assert recorded_dynamic_int8(hub / "onnx/model_quantized.onnx") is True
    assert recorded_dynamic_int8(hub / "onnx/model.onnx") is False
    flat = published(tmp_path, "flat", "onnx")
    assert model_folder(flat / "model.onnx") == flat
    assert recorded_dynamic_int8(flat / "model_quantized.onnx") is True


def test_the_largest_file_counts_for_memory(tmp_path):
    hub = published(tmp_path, "hub")
    sizes = [path.stat().st_size for path in (hub / "onnx").iterdir()]
    assert model_size(hub, None) == max(sizes)
    for name in ("model.onnx", "onnx/model.onnx"):
        assert model_size(hub, name) == (hub / "onnx/model.onnx").stat().st_size


@pytest.mark.parametrize("before, after", [("flat", "hub"), ("hub", "flat"), ("hub", "hub")])
def test_a_change_of_layout_leaves_nothing_stale(tmp_path, before, after):
    """Only what nobody exported here stays, such as a user's own file."""
    folder = published(tmp_path, before)
    for name in (
        "probe.json",
        "onnx/model_fp16.onnx",
        "model_quantized.ort",
        "onnx/model_quantized.ort",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("of an earlier export")
    (folder / "onnx/notes.txt").write_text("mine")
    publish(fill(tmp_path / "new", after), folder)
    expected = files_of(fill(tmp_path / "expected", after))
    assert files_of(folder) == sorted([*expected, "onnx/notes.txt"])


def test_an_empty_folder_of_the_old_layout_goes(tmp_path):
    folder = published(tmp_path, "hub")
    publish(fill(tmp_path / "new", "flat"), folder)
    assert not (folder / "onnx").exists()


def test_a_hub_folder_is_an_export_and_no_run(tmp_path):
    """`--overwrite_output_dir` must not take it for a training of ours."""
    folder = published(tmp_path, "hub")
    (folder / "resolved_config.yaml").write_text("# The recipe")
    assert not is_ours(folder)


def test_artifacts_keep_the_layout(tmp_path):
    folder = published(tmp_path, "hub")
    (folder / "metrics.json").write_text("{}")
    files = artifact_files(folder)
    assert {"onnx/model.onnx", "onnx/model_quantized.onnx", "config.json"} <= set(files)
    copy = tmp_path / "copy"
    for name, source in files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            shutil.copy(source, copy / name)
    assert load_predictor(copy).predict(TEXTS) == load_predictor(folder).predict(TEXTS)


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(UserError, match="--layout deep is not one of flat, hub"):
        ExportOptions(tmp_path, tmp_path / "out", layout="deep")


def test_a_float_model_alone(tmp_path):
    """Whoever lays a model out for the Hub without a report."""
    folder = save_model(tmp_path / "model")
    (folder / "onnx").mkdir()
    (folder / "model.onnx").unlink()
    save_onnx(folder / "onnx/model.onnx")
    logits = load_predictor(folder).logits(TEXTS)
    assert logits.tolist() == [expected_logits(text) for text in TEXTS]


def test_a_vocabulary_that_transformers_js_reads_otherwise_is_noted(tmp_path):
    """BPE with `##`, as `--from_scratch` trains it, split `team` into its letters there (seen)."""
    (tmp_path / "config.json").write_text("{}")
    for model, noted in (
        ({"type": "BPE", "continuing_subword_prefix": "##"}, True),
        ({"type": "BPE", "continuing_subword_prefix": None}, False),
        ({"type": "WordPiece", "continuing_subword_prefix": "##"}, False),
        ({"type": "Unigram"}, False),
    ):
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
        assert bool(notes_on(tmp_path, "hub")) == noted
        assert notes_on(tmp_path, "flat") == []
