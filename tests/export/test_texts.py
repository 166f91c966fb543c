"""Texts without labels on which INT8 is compared, and every task through the gate and its repetition."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import yaml

from tests.inference.conftest import save_model
from trainer_ext.arguments.files import FileOptions
from trainer_ext.errors import UserError
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.run import export_model
from trainer_ext.export.texts import MOST_TEXTS, read_texts, unlabelled_texts
from trainer_ext.export.verify import verify_export
from trainer_ext.inference.loading import load_single

RUNS = Path(__file__).resolve().parent.parent / "compatibility/runs_of_0_1"


@pytest.fixture
def predictor(tmp_path):
    return load_single(save_model(tmp_path / "model"), 1, "cpu")


def options(tmp_path, **given) -> ExportOptions:
    return ExportOptions(tmp_path / "model", tmp_path / "out", **given)


def test_a_file_of_texts_without_those_that_are_evaluated(tmp_path, predictor):
    path = tmp_path / "served.jsonl"
    lines = [json.dumps({"review": text}) + "\n" for text in ("good", "bad", "good", "dull", "")]
    path.write_text("".join(lines))
    found = unlabelled_texts(options(tmp_path, unlabelled_file=str(path)), predictor, ["bad"])
    assert found.texts == ["good", "dull"] and found.source == "texts of served.jsonl"
    found = unlabelled_texts(
        options(tmp_path, unlabelled_file=str(path)), predictor, ["bad", "good", "dull"]
    )
    assert found is None


def test_it_is_read_as_the_flags_say(tmp_path, predictor):
    path = tmp_path / "served.txt"
    path.write_bytes("很好\n很差\n".encode("gb18030"))
    given = {"unlabelled_file": str(path), "files": FileOptions(encoding="gb18030")}
    assert unlabelled_texts(options(tmp_path, **given), predictor, []).texts == ["很好", "很差"]


def test_a_file_that_was_asked_for_has_to_be_there(tmp_path, predictor):
    (tmp_path / "empty.txt").write_text("")
    for name, message in (("empty.txt", "it has no rows"), ("none.txt", "none.txt")):
        with pytest.raises(UserError, match=message):
            unlabelled_texts(options(tmp_path, unlabelled_file=str(tmp_path / name)), predictor, [])


def test_training_texts_if_they_are_there(tmp_path, predictor, caplog):
    """The recorded file; one that has gone, or is damaged, is passed over."""
    train = tmp_path / "train.csv"
    train.write_text("review,label\ngood,pos\nbad,neg\n")
    recorded = {"train_file": str(train)}
    (tmp_path / "model/resolved_config.yaml").write_text(yaml.safe_dump(recorded))
    found = unlabelled_texts(options(tmp_path), predictor, ["good"])
    assert found.texts == ["bad"] and found.source == "training texts"
    train.write_text("")
    with caplog.at_level(logging.DEBUG):
        assert unlabelled_texts(options(tmp_path), predictor, []) is None
    train.unlink()
    assert unlabelled_texts(options(tmp_path), predictor, []) is None
    (tmp_path / "model/resolved_config.yaml").unlink()
    assert unlabelled_texts(options(tmp_path), predictor, []) is None


def test_of_a_long_file_texts_at_even_distances(tmp_path, predictor):
    """Files may be sorted by class."""
    path = tmp_path / "long.txt"
    path.write_text("".join(f"text {k}\n" for k in range(4 * MOST_TEXTS)))
    texts = read_texts(str(path), FileOptions(), predictor)
    assert len(texts) == MOST_TEXTS
    assert texts[:2] == ["text 0", "text 4"] and texts[-1] == f"text {4 * MOST_TEXTS - 4}"


@pytest.mark.parametrize(
    "task, file",
    [
        ("single_label", "topics.csv"),
        ("multi_label", "tags.csv"),
        ("multi_aspect", "meals.csv"),
        ("regression", "grades.csv"),
        ("joint", "trips_rows.jsonl"),
    ],
)
def test_every_task_is_proven_and_verified(task, file, tmp_path):
    """With bounds, changes of its parts, texts without labels, and the checkpoint as the reference again."""
    eval_file = tmp_path / f"eval{Path(file).suffix}"
    # Half of the rows have labels that count, the others are texts.
    lines = (RUNS / file).read_text(encoding="utf-8").splitlines(keepends=True)
    eval_file.write_text("".join(lines[:31]), encoding="utf-8")
    shutil.copytree(RUNS / task, tmp_path / "model")
    report = export_model(
        ExportOptions(
            tmp_path / "model",
            tmp_path / "onnx",
            eval_file=str(eval_file),
            max_metric_drop=20,
            unlabelled_file=str(RUNS / file),
        )
    )
    int8 = report.variant("int8")
    assert report.passed and int8.loss.rows == report.eval_rows
    assert int8.loss.low <= int8.loss.points <= int8.loss.high
    assert int8.loss_on_texts.rows >= 2  # repeated texts count once
    assert int8.loss.points == pytest.approx(points(report), abs=1e-6)
    assert len(report.deltas) >= 3
    (found,) = verify_export(
        tmp_path / "onnx", eval_file=str(eval_file), unlabelled_file=str(RUNS / file)
    ).values()
    assert found.passed and found.reference == "pytorch" and not found.notes
    assert [variant.name for variant in found.variants] == ["pytorch", "onnx", "int8"]
    again = found.variants[-1]
    assert again.metric == pytest.approx(int8.metric)
    assert again.loss_on_texts.rows == int8.loss_on_texts.rows
    assert found.probe == {"onnx": "matches", "int8": "matches"}


def test_a_verification_tells_of_a_probe_that_is_answered_otherwise(tmp_path):
    """The files are good on these rows all the same, and both are judged: the float one stands in for neither."""
    given = {"eval_file": str(RUNS / "topics.csv"), "max_metric_drop": 20}
    export_model(ExportOptions(RUNS / "single_label", tmp_path / "onnx", **given))
    path = tmp_path / "onnx/probe.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        row["logits"]["int8"] = [value + 3 for value in row["logits"]["int8"]]
    path.write_text(json.dumps(content), encoding="utf-8")
    (found,) = verify_export(tmp_path / "onnx", eval_file=given["eval_file"]).values()
    assert found.passed and found.variants[-1].rms_relative_diff > 0
    assert found.probe["onnx"] == "matches" and found.probe["int8"].startswith("differs by 3")
    assert any("--on_mismatch" in note for note in found.notes)


def points(report) -> float:
    """The loss as the deltas have it, which are computed by themselves."""
    (default,) = [delta for delta in report.deltas if delta.metric == report.metric_name]
    assert default.before == pytest.approx(report.variant("pytorch").metric)
    assert default.after == pytest.approx(report.variant("int8").metric)
    return default.loss_points
