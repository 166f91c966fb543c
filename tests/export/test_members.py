"""An export of several models that is cut off, or follows another one."""

import json
import re

import pytest

from tests.inference.conftest import save_model
from trainer_ext.errors import UserError
from trainer_ext.export.gate import Variant
from trainer_ext.export.members import export_members
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.publish import publish
from trainer_ext.export.report import build_report, join_reports, members_table
from trainer_ext.inference.members import members_of

REPORT = build_report([Variant("pytorch", "model.safetensors", 1, 0.9)], "f1", 1, 0.5, 1)


@pytest.fixture
def export(tmp_path, monkeypatch):
    """`export(until)` exports both folds of `cv` and is killed before the model called `until`."""

    def run(until: str | None = None, output: str = "onnx") -> None:
        def one(options, replaced):
            if options.model.name == until:
                raise KeyboardInterrupt
            stage = save_model(tmp_path / "stage")
            (stage / "export_report.json").write_text(json.dumps(REPORT.to_dict()))
            publish(stage, options.output_dir, replaced)
            return REPORT

        monkeypatch.setattr("trainer_ext.export.members.export_model", one)
        options = ExportOptions(tmp_path / "cv", tmp_path / output, None, 0.5, None, False)
        export_members(options, [tmp_path / "cv/fold-0", tmp_path / "cv/fold-1"])

    (tmp_path / "cv").mkdir()
    (tmp_path / "cv/folds.json").write_text(json.dumps({"folds": 2, "fold_repeats": 1}))
    (tmp_path / "cv/cv.json").write_text("{}")
    return run


def test_what_was_cut_off_does_not_answer(export, tmp_path):
    """Neither the models before it alone, nor with those of an earlier export."""
    with pytest.raises(KeyboardInterrupt):
        export(until="fold-1")
    with pytest.raises(
        UserError, match="onnx is not complete: fold-1 not trained or exported to the end"
    ):
        members_of(str(tmp_path / "onnx"))
    export()
    assert members_of(str(tmp_path / "onnx")) == [
        str(tmp_path / f"onnx/fold-{k}") for k in range(2)
    ]
    assert (tmp_path / "onnx/cv.json").is_file() and (
        tmp_path / "onnx/export_report.json"
    ).is_file()
    with pytest.raises(KeyboardInterrupt):
        export(until="fold-0")
    assert len(members_of(str(tmp_path / "onnx"))) == 2, "nothing has changed yet"
    with pytest.raises(KeyboardInterrupt):
        export(until="fold-1")
    with pytest.raises(UserError, match="not complete: fold-1"):
        members_of(str(tmp_path / "onnx"))


def test_into_the_folder_of_the_models(export):
    """Refused before anything is written."""
    with pytest.raises(UserError, match="cv holds the models themselves"):
        export(output="cv")


def test_table_of_the_models():
    """Each column says what it holds before, and after."""
    header, _, row = members_table(join_reports({"fold-0": REPORT})).splitlines()
    names = re.split(r"\s{2,}", header.strip())
    assert names == ["model", "chosen", "rows", "f1 before", "f1 after"] + [
        f"{what} {when}" for what in ("MB", "ms") for when in ("before", "after")
    ] + ["verdict"]
    assert row.split()[:5] == ["fold-0", "pytorch", "1", "0.9000", "0.9000"]
