"""What version 0.1 left still loads and answers the same: checkpoints, folds, seeds, exports, artifacts, a killed run.

`make_fixture.py` says how the folders were made. Nothing of the project is imported here: only what a user has, the
scripts and the files, is held to what it was.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_ok, run_script

HERE = Path(__file__).resolve().parent
RUNS = sorted(path.name for path in (HERE / "runs_of_0_1").iterdir() if path.is_dir())
EXPORTS = {"onnx": "single_label", "onnx_joint": "joint"}
INT8_TOLERANCE = 2e-2  # processors without VNNI add products in 16 bits, which saturate


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """A copy of both folders in another place than the one they were made in."""
    folder = tmp_path_factory.mktemp("old")
    for name in ("runs_of_0_1", "work_of_0_1"):
        shutil.copytree(HERE / name, folder / name)
    return folder


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_same(seen, expected, tolerance: float, where: str) -> None:
    """Names, texts and tags are equal, numbers nearly; `where` is the place in the answers."""
    if isinstance(expected, dict):
        assert list(seen) == list(expected), where
        for key, value in expected.items():
            check_same(seen[key], value, tolerance, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(seen) == len(expected), where
        for k, value in enumerate(expected):
            check_same(seen[k], value, tolerance, f"{where}[{k}]")
    elif isinstance(expected, float):
        assert seen == pytest.approx(expected, rel=1e-5, abs=tolerance), where
    else:
        assert seen == expected, where


def check_answers(model, stem: Path, output: Path, *flags, tolerance: float = 1e-4) -> None:
    """`predict.py` with this model answers to `stem`.txt what `stem`.jsonl says."""
    run_ok("predict.py", "--model", model, "--input", f"{stem}.txt", "--output", output, *flags)
    check_same(read_jsonl(output), read_jsonl(Path(f"{stem}.jsonl")), tolerance, stem.name)


def stamps(folder: Path, pattern: str) -> dict[Path, int]:
    """When each file was written."""
    found = {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}
    assert found, f"{folder} has no {pattern}"
    return found


def test_all_kinds_are_there():
    """Every task, a calibrated model of each kind, another pooling, folds, seeds, exports."""
    tasks = {"single_label", "multi_label", "multi_aspect", "regression", "joint"}
    others = {"calibrated", "calibrated_labels", "label_attention", "folds", "seeds"}
    assert set(RUNS) == tasks | others | set(EXPORTS)


@pytest.mark.parametrize("name", RUNS)
def test_a_folder_answers_as_before(old, name, tmp_path):
    """The reference is what the version that made it answered."""
    tolerance = INT8_TOLERANCE if name in EXPORTS else 1e-4
    check_answers(
        old / "runs_of_0_1" / name,
        old / "runs_of_0_1" / name,
        tmp_path / "seen.jsonl",
        tolerance=tolerance,
    )


@pytest.mark.parametrize("name", EXPORTS)
def test_the_float_file_of_an_export_answers_as_its_checkpoint(old, name, tmp_path):
    runs = old / "runs_of_0_1"
    check_answers(
        runs / name, runs / EXPORTS[name], tmp_path / "seen.jsonl", "--file_name", "model.onnx"
    )


@pytest.mark.parametrize("alias", ["best", "latest"])
def test_an_artifact_resolves(old, alias, tmp_path, monkeypatch):
    """The two versions answer differently: an alias that moved would be seen."""
    monkeypatch.setenv("TRAINER_EXT_ARTIFACTS", str(old / "work_of_0_1" / "artifacts"))
    stem = old / "work_of_0_1" / f"artifact_{alias}"
    check_answers(f"artifact:topics:{alias}", stem, tmp_path / "seen.jsonl")


def test_a_killed_training_goes_on_from_its_checkpoint(old, tmp_path):
    """Its checkpoint is not written again, and it ends with the model that the old version ended with."""
    work = old / "work_of_0_1"
    folder = work / "unfinished"
    before = stamps(folder, "checkpoint-20/*")
    flags = [
        "--train_file",
        work / "topics.csv",
        "--output_dir",
        folder,
        "--resume_from_checkpoint",
        "true",
    ]
    run_ok("train.py", work / "unfinished.yaml", *flags)
    assert stamps(folder, "checkpoint-20/*") == before
    assert read_json(folder / "metrics.json")["global_step"] == 60
    # forty steps more: what differs between processors in the last bit grows
    check_answers(folder, work / "unfinished", tmp_path / "seen.jsonl", tolerance=1e-2)


@pytest.mark.parametrize("name", ["folds", "seeds"])
def test_finished_members_are_kept(old, name):
    """The recipe in the folder again trains nothing, and the summary is the same."""
    runs = old / "runs_of_0_1"
    before = stamps(runs / name, "*/model.safetensors")
    summary = read_json(runs / name / "cv.json")
    run_ok(ROOT / "train.py", f"{name}/resolved_config.yaml", cwd=runs)
    assert stamps(runs / name, "*/model.safetensors") == before
    check_same(read_json(runs / name / "cv.json"), summary, 1e-4, name)


def test_another_training_is_not_taken_for_the_old_one(old):
    """The folder of folds is recognised by its flags and rows, not by being there."""
    recipe = "folds/resolved_config.yaml"
    done = run_script(ROOT / "train.py", recipe, "--seed", "7", cwd=old / "runs_of_0_1")
    assert done.returncode == 2 and "seed" in done.stderr


def test_a_checkpoint_is_scored_on_the_rows_it_was_scored_on(old, tmp_path):
    """Its recipe draws the same validation rows out of the training file."""
    runs = old / "runs_of_0_1"
    flags = [
        "--do_train",
        "false",
        "--model_name_or_path",
        runs / "single_label",
        "--train_file",
        runs / "topics.csv",
    ]
    run_ok(
        "train.py", runs / "single_label" / "resolved_config.yaml", *flags, "--output_dir", tmp_path
    )
    metrics = read_json(runs / "single_label" / "metrics.json")
    expected = {name: value for name, value in metrics.items() if name.startswith("eval_")}
    check_same(read_json(tmp_path / "eval_results.json"), expected, 1e-4, "eval_results.json")


@pytest.mark.parametrize("name", ["calibrated", "folds"])
def test_a_folder_is_exported(old, name, tmp_path):
    """One model with its calibration, and every fold; the float files answer as the checkpoints."""
    runs = old / "runs_of_0_1"
    flags = ["--eval_file", runs / "topics.csv", "--max_metric_drop", "20"]
    run_ok("export.py", runs / name, "--output_dir", tmp_path / "onnx", *flags)
    reports = list((tmp_path / "onnx").rglob("export_report.json"))
    assert reports and all(read_json(path)["passed"] for path in reports)
    float_file = ("--file_name", "model.onnx")
    check_answers(tmp_path / "onnx", runs / name, tmp_path / "seen.jsonl", *float_file)
