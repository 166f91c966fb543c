"""Small encoders through the whole export, for the stage `native`."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.families import save_ours, save_rows
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.report import ExportReport
from trainer_ext.export.run import export_model
from trainer_ext.inference.native.library import library_here

needs_library = pytest.mark.skipif(library_here() is None, reason="no library for this CPU")
needs_exporter = {
    "optimum": pytest.mark.skipif(find_spec("optimum") is None, reason="no Optimum here"),
    "torch": pytest.mark.skipif(find_spec("onnxscript") is None, reason="no onnxscript here"),
}


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    """Labelled rows to prove an export on."""
    return save_rows(tmp_path_factory.mktemp("native-rows") / "rows.jsonl")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A small BERT whose first token is read; do not change it."""
    return save_ours(tmp_path_factory.mktemp("native") / "checkpoint", "bert")


@pytest.fixture(scope="session")
def exported(checkpoint, rows, tmp_path_factory) -> Path:
    """Its export; do not change it."""
    out = tmp_path_factory.mktemp("native") / "onnx"
    export(checkpoint, out, rows)
    return out


def export(checkpoint: Path, out: Path, rows: Path, **options) -> ExportReport:
    """Export a random model: it answers by chance, so that only its logits are judged."""
    return export_model(ExportOptions(checkpoint, out, str(rows), max_metric_drop=100, **options))


def found(report: ExportReport) -> dict:
    """What the stage `native` says of an export."""
    stages = {stage.name: stage for stage in report.stages}
    assert stages["native"].status == "done"
    return stages["native"].details
