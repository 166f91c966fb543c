"""Model cards: what stands in them can be copied, and runs."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from trainer_ext.arguments.parser import parse_values, resolved
from trainer_ext.cross_validation.card import write_card
from trainer_ext.reports.cards import ModelFacts, card_metadata, fenced, write_model_card
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
    commands = re.findall(r"^trainer-ext .*?$", card, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[2 if words[1] == "export" else words.index("--model") + 1].startswith(
            str(folder)
        )
    (again,) = re.findall(r"`(trainer-ext train .*?)`", card)
    assert shlex.split(again)[2] == str(folder / "resolved_config.yaml")


def test_model_card(folder, args):
    """Of one model; its Python lines are Python."""
    task = SingleLabel(LabelSpace(("label",), ("no", "1_0"), ("no", "1_0")))
    metrics = {"eval_f1_macro": 0.5, "best_step": 3}
    rows = {"train": 4, "validation": 2, "test": 0}
    hashes = {"train_data_sha256": "ab" * 32}
    intervals = {"eval_f1_macro": (0.25, 0.75)}
    write_model_card(ModelFacts(folder, args, task, metrics, rows, True, intervals, hashes))
    check_card(folder, args)
    card = (folder / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    compile(block, "card", "exec")
    assert "Task `single_label`: 1 label column, 2 classes" in card


@pytest.mark.parametrize(
    "task, averaged", [("single_label", "probabilities"), ("regression", "scores")]
)
def test_card_of_folds(folder, args, task, averaged):
    """Of several models, and what their answer is the mean of."""
    args.data.task = task
    summary = {
        "folds": {"fold-0": {"f1_macro": 0.5}},
        "mean": {"f1_macro": 0.5},
        "std": {"f1_macro": 0.0},
    }
    summary |= {"oof": {"f1_macro": 0.5}, "metric": "f1_macro", "validated_rows": 4}
    write_card(folder, args, summary | {"made": {"folds": 2, "fold_strategy": "stratified"}})
    check_card(folder, args)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"all models, mean of their {averaged}" in card


@pytest.fixture
def odd_args(tmp_path):
    """Flags of a run whose data and encoder come from the Hub, in a folder with a name that is markup."""
    folder = tmp_path / "<b>*mine* `x`"
    folder.mkdir()
    flags = {
        "dataset_name": "someone/reviews",
        "model_name_or_path": "someone/encoder",
        "output_dir": str(folder),
    }
    return parse_values(flags | {"save_strategy": "no"}, {})


def test_the_hub_reads_the_metadata(odd_args):
    """What is known is there as the Hub calls it; the loss, single classes and what is not finite are left out."""
    folder = Path(odd_args.training.output_dir)
    task = SingleLabel(LabelSpace(("label",), ("no", "yes"), ("no", "yes")))
    metrics = {
        "eval_loss": 0.7,
        "eval_accuracy": 0.25,
        "eval_f1_macro": 0.5,
        "eval_f1_no": 0.1,
        "eval_ece": float("nan"),
        "test_accuracy": 0.75,
        "best_step": 3,
    }
    counts = {"train": 4, "validation": 2, "test": 2}
    write_model_card(ModelFacts(folder, odd_args, task, metrics, counts, is_best=False))
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "trainer-ext"
    assert card.data.pipeline_tag == "text-classification" and card.data.tags == ["single_label"]
    assert card.data.base_model == "someone/encoder" and card.data.datasets == ["someone/reviews"]
    assert card.data.metrics == ["accuracy", "f1"] and card.data.license is None
    results = {
        (result.dataset_split, result.metric_name): (result.metric_type, result.metric_value)
        for result in card.data.eval_results
    }
    assert results == {
        ("validation", "accuracy"): ("accuracy", 0.25),
        ("validation", "f1_macro"): ("f1", 0.5),
        ("test", "accuracy"): ("accuracy", 0.75),
    }
    assert {result.dataset_type for result in card.data.eval_results} == {"someone/reviews"}
    assert card.data.model_name == folder.name


def test_a_card_is_known_as_ours_by_its_first_lines(folder, args):
    """`runs/output_dir.py` reads no further."""
    task = SingleLabel(LabelSpace(("label",), ("no", "1_0"), ("no", "1_0")))
    rows = {"train": 4, "validation": 2, "test": 0}
    write_model_card(ModelFacts(folder, args, task, {"best_step": 3}, rows, is_best=True))
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["---", "library_name: trainer-ext"]


def test_names_from_data_are_no_markup(odd_args):
    """In the title, in lists of classes and in what is to be copied."""
    folder = Path(odd_args.training.output_dir)
    names = ("<script>", "a|b", "``` x", "[x](y)")
    task = SingleLabel(LabelSpace(("label",), names, names))
    rows = {"train": 4, "validation": 2, "test": 0}
    write_model_card(ModelFacts(folder, odd_args, task, {"best_step": 3}, rows, is_best=True))
    text = ModelCard.load(folder / "README.md").text
    assert r"# \<b\>\*mine\* \`x\`" in text
    assert "(`<script>`, `a|b`, ```` ``` x ````, `[x](y)`)" in text


@pytest.mark.parametrize(
    "header, expected",
    [
        ("language: zh\nlicense: apache-2.0", ("zh", "apache-2.0")),
        ("language: [en]", ("en", None)),
        ("language: [en, de]\nlicense: [1]", (None, None)),
        ("language: '<b>'", (None, None)),
        ("language: [", (None, None)),
    ],
)
def test_language_and_licence_are_those_of_the_encoder_if_it_says_so(
    tmp_path, folder, args, header, expected
):
    """Of one language, in a card that can be read."""
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "README.md").write_text(f"---\n{header}\n---\n# Encoder\n")
    args.model.model_name_or_path = str(encoder)
    data = card_metadata(folder, args, {})
    assert (data.language, data.license, data.base_model) == (*expected, None)


def test_a_block_ends_where_it_should():
    """Though its text has a line that would end it."""
    assert fenced("a\n```\nb\n", "yaml") == "````yaml\na\n```\nb\n````"
