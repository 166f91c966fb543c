"""What a folder of folds or seeds takes and refuses, before anything is trained or written."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.cross_validation.conftest import TINY, topic_rows
from trainer_ext.arguments.parser import parse_values
from trainer_ext.cross_validation.folder import take_folder
from trainer_ext.cross_validation.member_job import splits_of, train_member
from trainer_ext.cross_validation.run import prepare
from trainer_ext.data.fold_table import read_folds
from trainer_ext.data.in_memory import write_table
from trainer_ext.data.training_data import load_training_data
from trainer_ext.errors import UserError


class Begun(Exception):
    """Raised where a training would begin."""


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """`begin(rows, validation, **flags)` takes up the folder `cv` as train.py does, and trains nothing."""

    def not_trained(args, *given):
        raise Begun

    monkeypatch.setattr("trainer_ext.cross_validation.member_job.train_model", not_trained)

    def run(rows: list[dict], validation: list[dict] | None = None, **flags) -> None:
        write_table(rows, tmp_path / "train.jsonl", "")
        flags = (
            TINY
            | {"train_file": str(tmp_path / "train.jsonl"), "output_dir": str(tmp_path / "cv")}
            | flags
        )
        if validation:
            write_table(validation, tmp_path / "dev.jsonl", "")
            flags["validation_file"] = str(tmp_path / "dev.jsonl")
        args = parse_values({}, flags)
        if "fold" in flags or len(flags.get("seeds", [0, 0])) == 1:
            with pytest.raises(Begun):
                train_member(args)
        else:
            prepare(args)

    return run


def trained(folder: Path) -> Path:
    """As if a model had been trained there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    return folder


ROWS, DEV = topic_rows(36), topic_rows(12, seed=2)


def test_seeds_of_other_rows_are_refused(begin, tmp_path):
    """Training and validation rows, also in another order; one seed by itself too; not when all begins anew."""
    begin(ROWS, DEV, seeds=[1, 2])
    begin(ROWS, DEV, seeds=[1, 2])
    with pytest.raises(
        UserError, match="cv holds seeds with other validation rows: .*--overwrite_output_dir true"
    ):
        begin(ROWS, DEV[::-1], seeds=[1, 2])
    for seeds in ([1, 2], [2]):
        with pytest.raises(UserError, match="cv holds seeds with other training rows"):
            begin(ROWS[:-1], DEV, seeds=seeds)
    begin(ROWS[:-1], DEV[::-1], seeds=[1, 2], overwrite_output_dir=True)
    begin(ROWS[:-1], DEV[::-1], seeds=[1, 2])


def test_no_seed_stays_that_is_not_part_of_the_whole(begin, tmp_path):
    """They become more when all are named; one by itself must be among them."""
    begin(ROWS, DEV, seeds=[1])
    with pytest.raises(
        UserError, match="cv holds the seeds 1: name all, --seeds 1 2. Give another"
    ):
        begin(ROWS, DEV, seeds=[2])
    begin(ROWS, DEV, seeds=[1, 2])
    begin(ROWS, DEV, seeds=[2])
    assert json.loads((tmp_path / "cv/seeds.json").read_text())["seeds"] == [1, 2]
    with pytest.raises(
        UserError, match="cv holds the seeds 1, 2: name all, --seeds 1 2 3 4. Give another"
    ):
        begin(ROWS, DEV, seeds=[3, 4])
    begin(ROWS, DEV, seeds=[1, 2, 3])
    begin(ROWS, DEV, seeds=[3])
    with pytest.raises(UserError, match="cv holds the seeds 1, 2, 3: name all, --seeds 1 2 3 7"):
        begin(ROWS, DEV, seeds=[7])
    assert json.loads((tmp_path / "cv/seeds.json").read_text())["seeds"] == [1, 2, 3]


def test_one_fold_anew_does_not_change_the_division_of_the_others(begin, tmp_path):
    """It is refused while others are there, and its own model stays."""
    begin(ROWS, folds=2)
    first, second = (trained(tmp_path / f"cv/fold-{k}") for k in range(2))
    (tmp_path / "cv/cv.json").write_text("{}")
    files = [(tmp_path / "cv" / name).read_bytes() for name in ("folds.csv", "folds.json")]
    with pytest.raises(
        UserError, match="made for other data, .* all of them at once, since fold-0 is there too"
    ):
        begin(ROWS[::-1], folds=2, fold=1, overwrite_output_dir=True)
    with pytest.raises(UserError, match="its learning_rate is 0.005, now it is 0.1"):
        begin(ROWS, folds=2, fold=1, overwrite_output_dir=True, learning_rate=0.1)
    assert (second / "config.json").exists() and (tmp_path / "cv/cv.json").exists()
    begin(ROWS, folds=2, fold=1, overwrite_output_dir=True)
    assert files == [(tmp_path / "cv" / name).read_bytes() for name in ("folds.csv", "folds.json")]
    assert not (tmp_path / "cv/cv.json").exists(), "it described the model that is trained again"
    (first / "config.json").unlink()
    begin(ROWS[::-1], folds=2, fold=1, overwrite_output_dir=True)
    assert (second / "config.json").exists(), (
        "its training removes it, once no other process trains it"
    )
    assert files[1] != (tmp_path / "cv/folds.json").read_bytes()


@pytest.mark.parametrize("flags", [{}, {"fold": 3}])
def test_what_is_refused_leaves_the_folder_free(begin, tmp_path, flags):
    """Rows that cannot be divided, and then a run with fewer folds; what is there is kept then, too."""
    with pytest.raises(UserError, match="folds 40 needs at least 40 different texts"):
        begin(ROWS, folds=40, **flags)
    assert not (tmp_path / "cv").exists()
    begin(ROWS, folds=4, **flags)
    before = sorted(path.name for path in (tmp_path / "cv").iterdir())
    with pytest.raises(UserError, match="folds 40 needs at least 40 different texts"):
        begin(ROWS, folds=40, overwrite_output_dir=True, **flags)
    assert before == sorted(path.name for path in (tmp_path / "cv").iterdir())


def test_every_test_row_is_read_before_the_training(begin, tmp_path):
    """As the folds read them: labelled ones with drop_missing; without labels an empty text gets its answer."""
    rows = topic_rows(5, seed=3)
    rows[2]["text"] = ""
    tests = {"folds": 2, "test_file": str(tmp_path / "test.jsonl")}
    write_table(rows, tmp_path / "test.jsonl", "")
    with pytest.raises(UserError, match="test.jsonl, row 3 .*: column .text. is empty"):
        begin(ROWS, **tests)
    assert not (tmp_path / "cv").exists()
    begin(ROWS, **tests, drop_missing=True)
    write_table(
        [{"id": row["id"], "text": row["text"]} for row in rows], tmp_path / "test.jsonl", ""
    )
    begin(ROWS, **tests, overwrite_output_dir=True)
    (tmp_path / "test.jsonl").write_text('{"id": 1, "text": "a"}\n{"text": "b"}\n')
    with pytest.raises(UserError, match="test.jsonl, row 2.*: there is no column 'id'"):
        begin(ROWS, **tests, overwrite_output_dir=True)


def test_folds_that_begin_at_the_same_time_are_of_one_division(tmp_path):
    """What one reads, checks and writes, no other does meanwhile; the lock is gone afterwards."""
    write_table(ROWS, tmp_path / "train.jsonl", "")
    for attempt in range(3):
        folder = tmp_path / f"several-{attempt}" / "cv"
        flags = {"train_file": str(tmp_path / "train.jsonl"), "output_dir": str(folder)}
        runs = [parse_values({}, TINY | flags | {"folds": 6, "fold": fold}) for fold in range(6)]

        def take(args):
            return take_folder(args, load_training_data(args.data, splits_of(args)))

        with ThreadPoolExecutor(6) as pool:
            tables = list(pool.map(take, runs))
        written = read_folds(folder / "folds.csv", tables[0].division)
        assert all(np.array_equal(table.folds, written) for table in tables)
        assert sorted(path.name for path in folder.iterdir()) == [
            ".trainer_ext.json",
            "folds.csv",
            "folds.json",
            "resolved_config.yaml",
        ]
