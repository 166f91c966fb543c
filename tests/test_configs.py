"""Every recipe in the repository parses, and opens with its run card."""

from pathlib import Path

import pytest
import yaml

from trainer_ext.arguments.parser import parse
from trainer_ext.comparison.sweep_file import read_sweep
from trainer_ext.tasks import TASKS, LabelSpace

ROOT = Path(__file__).resolve().parent.parent
# What lies in a folder of its own is no recipe: tests/search reads the spaces of searches.
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
SWEEPS = sorted((ROOT / "configs/sweeps").glob("*.yaml"))
NAMES = [str(path.relative_to(ROOT)) for path in RECIPES]


def test_there_are_recipes():
    """The tests below look at something; and there is no recipe with another ending."""
    assert len(RECIPES) >= 5 and len(SWEEPS) >= 2
    assert not [
        path for path in (ROOT / "configs").rglob("*") if path.is_file() and path.suffix != ".yaml"
    ]


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_recipe_parses(path, monkeypatch):
    """Without contradiction, for a task that has the metric it names and takes the classes it names."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    monkeypatch.setattr("trainer_ext.arguments.checks.os.path.isfile", lambda path: True)
    flags = []
    for name in ("train_file", "validation_file"):
        flags += (
            [] if values.get(name) or values.get("dataset_name") else [f"--{name}", f"{name}.csv"]
        )
    if not {"from_scratch", "model_name_or_path"} & set(
        values
    ):  # the encoder's place is said on the command line
        flags += ["--model_name_or_path", "encoder"]
    args = parse([str(path), *flags])
    task = TASKS[args.data.task]
    task.check_metric(args.training.metric_for_best_model, args.data.label_columns)
    if args.data.label_names:
        task(LabelSpace.from_names(args.data.label_columns, args.data.label_names))
    asks = {
        "bf16",
        "fp16",
        "tf32",
        "bf16_full_eval",
        "fp16_full_eval",
        "torch_compile",
        "use_cpu",
    } & set(values)
    assert not asks and values.get("precision") in (None, "auto"), (
        f"{asks}: a machine may lack what the recipe asks for"
    )
    assert set(values) <= set(args.given) | {
        name for name, value in values.items() if value is None
    }


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_every_run_of_a_sweep_parses(path, monkeypatch):
    """As a recipe does."""
    monkeypatch.setattr("trainer_ext.arguments.checks.os.path.isfile", lambda path: True)
    sweep = read_sweep(path)
    assert len(sweep.runs) == 8
    for run in sweep.runs:
        flags = ["--train_file", "train.csv", "--output_dir", "out"]
        if "--validation_split" not in run.words:
            flags += ["--validation_file", "dev.csv"]
        parse([*run.words, *flags])


@pytest.mark.parametrize("path", [*RECIPES, *SWEEPS], ids=lambda path: path.name)
def test_recipe_opens_with_its_run_card(path):
    """A comment with the exact command, and a folder of its own to write to."""
    lines = path.read_text(encoding="utf-8").splitlines()
    card = []
    for line in lines:
        if not line.startswith("#"):
            break
        card.append(line)
    text = "\n".join(card)
    assert len(card) >= 3, "no run card"
    assert "python " in text or "make " in text
    assert path.relative_to(ROOT).as_posix() in text, "the command names another recipe"
    folder = path.relative_to(ROOT / "configs").with_suffix("")
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["output_dir"] == f"outputs/{folder}"
