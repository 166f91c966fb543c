"""Model cards: what stands in them can be copied, and runs."""

import re
import shlex

import pytest
import yaml

from trainer_ext.arguments.parser import parse_values, resolved
from trainer_ext.cross_validation.card import write_card
from trainer_ext.reports.run_report import write_model_card
from trainer_ext.tasks import LabelSpace
from trainer_ext.tasks.single_label import SingleLabel


@pytest.fixture(params=["plain", "my models", "it's $HOME & more"])
def folder(request, tmp_path):
    """Folders with blanks and quotes."""
    made = tmp_path / request.param
    made.mkdir()
    return made


@pytest.fixture
def args(folder):
    """Flags whose values YAML would read as something else without quotes."""
    (folder / "train.csv").touch()
    flags = {
        "train_file": str(folder / "train.csv"),
        "from_scratch": "tiny",
        "output_dir": str(folder),
    }
    return parse_values(
        flags | {"save_strategy": "no", "run_name": "a: b #c", "label_names": ["no", "1_0"]}, {}
    )


def check_card(folder, args) -> None:
    """Commands name the folder as one word; the configuration is the one of the run."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)
    assert yaml.safe_load(block) == resolved(args)
    commands = re.findall(r"^python .*?$", card, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[2 if words[1] == "export.py" else words.index("--model") + 1].startswith(
            str(folder)
        )
    (again,) = re.findall(r"`(python train.py .*?)`", card)
    assert shlex.split(again)[2] == str(folder / "resolved_config.yaml")


def test_model_card(folder, args):
    """Of one model; its Python lines are Python."""
    task = SingleLabel(LabelSpace(("label",), ("no", "1_0"), ("no", "1_0")))
    write_model_card(
        folder,
        args,
        task,
        {"eval_f1_macro": 0.5, "best_step": 3},
        {"train": 4, "validation": 2, "test": 0},
        is_best=True,
    )
    check_card(folder, args)
    card = (folder / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    compile(block, "card", "exec")


def test_card_of_folds(folder, args):
    """Of several models."""
    summary = {
        "folds": {"fold-0": {"f1_macro": 0.5}},
        "mean": {"f1_macro": 0.5},
        "std": {"f1_macro": 0.0},
    }
    summary |= {"oof": {"f1_macro": 0.5}, "metric": "f1_macro", "validated_rows": 4}
    write_card(folder, args, summary | {"made": {"folds": 2, "fold_strategy": "stratified"}})
    check_card(folder, args)
