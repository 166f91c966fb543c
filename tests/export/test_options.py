"""What export.py refuses before it loads anything."""

import re
import shutil
from dataclasses import replace

import pytest
import yaml

from tests.inference.conftest import save_model
from trainer_ext.errors import UserError
from trainer_ext.export.eval_rows import (
    evaluation_rows,
    recorded_fold_rows,
    recorded_validation_file,
)
from trainer_ext.export.options import ExportOptions
from trainer_ext.inference import load_predictor


def options(tmp_path, output_dir, max_eval_samples=None) -> ExportOptions:
    return ExportOptions(tmp_path, output_dir, None, 0.5, max_eval_samples, False)


def test_a_number_of_rows_that_is_none(tmp_path):
    for number in (0, -1):
        with pytest.raises(
            UserError, match=f"--max_eval_samples {number} is out of range: it must be at least 1"
        ):
            options(tmp_path, tmp_path / "out", number)
    assert options(tmp_path, tmp_path / "out", 1).max_eval_samples == 1


def test_an_output_folder_that_is_a_file(tmp_path):
    """Or below one; a folder that can be made is not made yet."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            UserError, match="is not a folder that can be written to: Not a directory"
        ):
            options(tmp_path, path)
    options(tmp_path, tmp_path / "some" / "where")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def recipe(folder, **values):
    """A checkpoint's folder with what was recorded of its flags."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolved_config.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_a_recorded_file_that_is_not_seen_from_here(tmp_path, monkeypatch):
    """It is not true that none is recorded; a fold is not judged by the file of a soup instead."""
    run = recipe(tmp_path / "run", validation_file="data/dev.csv")
    fold = recipe(
        tmp_path / "cv/fold-0", fold=0, train_file="data/train.csv", validation_file="dev.csv"
    )
    monkeypatch.chdir(tmp_path)
    for find, name in (
        (lambda: recorded_validation_file(run), "dev"),
        (lambda: recorded_fold_rows(fold, None), "train"),
    ):
        with pytest.raises(
            UserError,
            match=rf"data/{name}.csv, is not there from {tmp_path}: start export.py where",
        ):
            find()
    assert recorded_validation_file(recipe(tmp_path / "none"))[0] is None
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dev.csv").write_text("text,label")
    assert recorded_validation_file(run)[0] == "data/dev.csv"


def test_tables_kept_in_the_run_move_along_with_it(tmp_path, monkeypatch):
    """Another run may lie at the old path."""
    monkeypatch.chdir(tmp_path)
    run = recipe(tmp_path / "old", output_dir="old", validation_file="old/data/validation.jsonl")
    fold = recipe(
        tmp_path / "old/fold-0",
        output_dir="old",
        fold=0,
        validation_file="old/data/validation.jsonl",
    )
    (run / "data").mkdir()
    (run / "data/validation.jsonl").write_text("{}")
    shutil.copytree(run, tmp_path / "moved/run")
    for model in (run, fold):
        place = tmp_path / "moved/run" / model.relative_to(run)
        assert recorded_validation_file(place)[0] == str(
            tmp_path / "moved/run/data/validation.jsonl"
        )


def test_other_rows_in_the_recorded_file_are_noted(tmp_path, monkeypatch, capsys):
    """In another directory a relative path may lead to another file."""
    model = save_model(tmp_path / "model")
    predictor = load_predictor(model)
    names = predictor.task.label_space.classes
    (tmp_path / "dev.csv").write_text(f"review,label\na b,{names[0]}\nb,{names[1]}\n")
    recipe(model, validation_file=str(tmp_path / "dev.csv"))
    for sha256, noted in ((None, False), ("0" * 64, True)):
        predictor.pipeline.validation_data_sha256 = sha256
        texts, _ = evaluation_rows(
            ExportOptions(model, tmp_path / "x", None, 0.5, 1, False), predictor
        )
        assert texts == ["a b"] and ("holds other rows now" in capsys.readouterr().err) == noted


def test_rows_without_the_label_column(tmp_path):
    """The error advises flags that `export` has."""
    path = tmp_path / "dev.csv"
    path.write_text("review,topic\ngood,pos\n", encoding="utf-8")
    predictor = load_predictor(save_model(tmp_path / "model"))
    given = replace(options(tmp_path / "model", tmp_path / "out"), eval_file=str(path))
    with pytest.raises(UserError, match="no column 'label'.*columns of the training") as error:
        evaluation_rows(given, predictor)
    assert set(re.findall(r"--\w+", str(error.value))) <= {"--text_column", "--label_columns"}
