"""What transformers 5 no longer does, done by us; the same tests hold with 4.57."""

import json
from dataclasses import fields

import pytest
import torch
from transformers import AutoTokenizer

from tests.training.test_parameter_groups import build
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.parser import parse_values
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.compatibility import FlagsGoneIn5, save_tokenizer
from trainer_ext.modeling.layers import prepare_layers
from trainer_ext.modeling.scratch import train_tokenizer


def test_recipes_keep_the_flags_that_are_gone():
    names = {spec.name for spec in fields(TrainingArguments) if spec.init}
    assert {spec.name for spec in fields(FlagsGoneIn5)} <= names
    args = TrainingArguments(output_dir="x", report_to="none")
    assert args.group_by_length is False and args.warmup_ratio == 0.0


@pytest.mark.parametrize(
    ("steps", "ratio", "expected"), [(0, 0.1, 5), (0, 0.11, 6), (7, 0.5, 7), (0, 0.0, 0)]
)
def test_a_warm_up_is_a_share_unless_its_steps_are_given(steps, ratio, expected):
    """Of 50 steps; a part of a step is rounded up."""
    args = TrainingArguments(
        output_dir="x", warmup_steps=steps, warmup_ratio=ratio, report_to="none"
    )
    assert args.get_warmup_steps(50) == expected


def test_runs_are_tracked_unless_they_are_told_not_to(monkeypatch, tmp_path):
    """transformers 5 would track nothing."""
    args = TrainingArguments(output_dir=str(tmp_path))
    assert args.report_to == ["wandb"]


def test_a_tokenizer_is_saved_under_the_name_that_both_versions_know(tmp_path):
    texts = ["goal match", "stock price"] * 4
    save_tokenizer(train_tokenizer(texts, 60, 16), tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("goal")["input_ids"] == train_tokenizer(texts, 60, 16)("goal")["input_ids"]
    assert again.pad_token == "[PAD]" and again.model_max_length == 16


def test_a_fresh_layer_is_fresh_although_it_was_loaded():
    """transformers 5 marks what it has loaded, and initialises nothing that is marked."""
    model = build("bert")
    matrix = model.encoder.encoder.layer[2].output.dense.weight
    for parameter in model.parameters():
        parameter._is_hf_initialized = True
    before = matrix.detach().clone()
    prepare_layers(model, ModelArguments(reinit_layers=1))
    assert not torch.equal(matrix, before)
    assert matrix.std().item() == pytest.approx(0.02, rel=0.2)


def test_a_recipe_of_4_57_is_read(tmp_path):
    """As every recipe in configs/ is."""
    rows = tmp_path / "rows.txt"
    rows.write_text("goal\tsports\nbank\tmoney\n", encoding="utf-8")
    recipe = {
        "task": "single_label",
        "train_file": str(rows),
        "from_scratch": "tiny",
        "output_dir": str(tmp_path / "out"),
        "warmup_ratio": 0.1,
        "group_by_length": True,
        "overwrite_output_dir": True,
        "report_to": "none",
    }
    training = parse_values(recipe, {}).training
    assert training.warmup_ratio == 0.1 and training.group_by_length
    assert training.overwrite_output_dir
