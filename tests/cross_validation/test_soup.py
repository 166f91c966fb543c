"""Greedy soup on numbers: what is kept, and the mean of the weights."""

import json

import pytest
import torch
import yaml

from tests.cross_validation.conftest import TINY
from trainer_ext.arguments.parser import parse_values
from trainer_ext.cross_validation.run import check_unseen
from trainer_ext.cross_validation.soup import (
    greedy_soup,
    judging_flags,
    make_soup,
    mean_with,
    validation_place,
    write_model,
)
from trainer_ext.cross_validation.submission import submit
from trainer_ext.data.io.readers import Row
from trainer_ext.errors import UserError
from trainer_ext.export.eval_rows import recorded_validation_file


def models(*values: float) -> list[dict[str, torch.Tensor]]:
    return [{"w": torch.tensor([value]), "ids": torch.tensor([3])} for value in values]


def test_it_keeps_what_does_not_hurt():
    """The score is the distance from 3: 2 is best, with 5 the mean is 3.5, with 3 it is 2.5; then 4 brings it to 3."""
    given = models(5.0, 2.0, 4.0, 9.0)
    judge = lambda soup, which: abs(float(soup["w"]) - 3)  # noqa: E731
    soup, kept = greedy_soup(given, [2.0, 1.0, 1.0, 6.0], judge, greater=False)
    assert kept == [1, 2] and float(soup["w"]) == 3 and soup["ids"].tolist() == [3]
    soup, kept = greedy_soup(
        given, [-2.0, -1.0, -1.0, -6.0], lambda s, w: -judge(s, w), greater=True
    )
    assert kept == [1, 2]


@pytest.mark.parametrize("greater", [True, False])
def test_one_that_changes_nothing_is_kept_and_counts_as_much_as_the_others(greater):
    soup, kept = greedy_soup(models(1.0, 2.0, 6.0), [0.5] * 3, lambda soup, which: 0.5, greater)
    assert kept == [0, 1, 2] and float(soup["w"]) == 3


def test_the_mean_of_three():
    """Added one at a time."""
    one, two, three = models(1.0, 2.0, 6.0)
    assert float(mean_with(mean_with(one, 1, two), 2, three)["w"]) == 3


def test_a_soup_of_regression_heads_has_the_mean_of_their_scales(tmp_path):
    """And else the first one's files, but for what its training left."""
    for name, mean in (("a", [1.0, 2.0]), ("b", [3.0, 6.0])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(
            json.dumps({"from": name, "logit_mean": mean, "logit_scale": None})
        )
        (tmp_path / name / "history.json").write_text("[]")
    write_model(tmp_path / "soup", {"w": torch.ones(2)}, [tmp_path / "a", tmp_path / "b"])
    assert {path.name for path in (tmp_path / "soup").iterdir()} == {
        "config.json",
        "model.safetensors",
    }
    config = json.loads((tmp_path / "soup" / "config.json").read_text())
    assert config == {"from": "a", "logit_mean": [2.0, 4.0], "logit_scale": None}


def test_rows_that_folds_train_on_cannot_judge():
    """With file and row."""
    rows = [Row({"text": "a b"}, "train.csv, row 1")]
    check_unseen(rows, [Row({"text": "c"}, "dev.csv, row 1")], "text")
    with pytest.raises(UserError, match="dev.csv, row 2: the text is in the training rows too"):
        check_unseen(
            rows,
            [Row({"text": "c"}, "dev.csv, row 1"), Row({"text": "a b "}, "dev.csv, row 2")],
            "text",
        )


def test_what_judged_it_can_judge_its_export(tmp_path):
    """The file and how it is read; not the folds' training rows or anything else that no soup was trained with."""
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text("text;label\n")
    flags = TINY | {
        "folds": 2,
        "soup": True,
        "train_file": tmp_path / "train.csv",
        "output_dir": tmp_path / "cv",
    }
    args = parse_values(
        {},
        flags | {"validation_file": tmp_path / "dev.csv", "delimiter": ";", "drop_missing": True},
    )
    (tmp_path / "resolved_config.yaml").write_text(yaml.safe_dump(judging_flags(args)))
    path, files = recorded_validation_file(tmp_path)
    assert path == str(tmp_path / "dev.csv") and (files.delimiter, files.drop_missing) == (
        ";",
        True,
    )
    assert set(judging_flags(args)) == {"validation_file", "delimiter", "drop_missing"}


@pytest.fixture
def args(tmp_path):
    """The arguments of a single run."""
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\na,x\n")
    files = {"train_file": str(rows), "validation_file": str(rows), "output_dir": str(tmp_path)}
    return parse_values(TINY, files)


def test_folders_that_a_soup_or_a_submission_cannot_be_made_of(args, tmp_path):
    """Both are commands of their own, so they meet folders of single runs, and recipes without test rows."""
    with pytest.raises(UserError, match="holds one run"):
        make_soup(args, tmp_path)
    with pytest.raises(UserError, match="without a test_file"):
        submit(args, tmp_path, tmp_path)


def test_the_place_of_the_rows_that_judge(args, tmp_path):
    assert validation_place(args.data) == str(tmp_path / "rows.csv")
    args.data.validation_file, args.data.validation_split = None, 0.2
    assert validation_place(args.data) == f"validation_split 0.2 of {tmp_path / 'rows.csv'}"
    args.data.validation_split, args.data.dataset_name = None, "imdb"
    assert validation_place(args.data) == "imdb[validation]"
