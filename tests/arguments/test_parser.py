"""Recipes and command lines: who wins, what is refused, and a resolved recipe that runs again."""

import os
from pathlib import Path

import numpy as np
import pandas
import pytest
import yaml

from tests.versions import until_4
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import parse, parse_values, resolved, write_resolved
from trainer_ext.arguments.recipe import flag_names, overridden, to_tokens
from trainer_ext.errors import UserError


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    """Empty files that exist: parsing reads no data."""
    paths = {
        f"{split}_file": str(tmp_path / f"{split}.csv") for split in ("train", "validation", "test")
    }
    for path in paths.values():
        Path(path).touch()
    return paths


@pytest.fixture
def recipe(tmp_path, files):
    """Writes a recipe of the smallest complete run and what is given; a value of ... leaves a key out."""

    def write(**values) -> str:
        base = {
            "output_dir": str(tmp_path / "out"),
            "train_file": files["train_file"],
            "from_scratch": "tiny",
        }
        content = {key: value for key, value in {**base, **values}.items() if value is not ...}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return str(tmp_path / "recipe.yaml")

    return write


def refusal(*argv: str) -> str:
    """The message with which a command line is refused."""
    with pytest.raises(UserError) as caught:
        parse(list(argv))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- recipe and command line ----------------------------------------------------------------------------------------


def test_command_line_wins(recipe):
    """Over the recipe, which wins over the defaults; lists are replaced, not joined."""
    path = recipe(learning_rate=1e-3, seed=1, label_columns=["a", "b", "c"], task="multi_aspect")
    args = parse([path, "--learning_rate", "3e-5", "--label_columns", "x", "y", "--max_length=64"])
    assert (
        args.training.learning_rate == 3e-5
        and args.training.seed == 1
        and args.data.max_length == 64
    )
    assert args.data.label_columns == ["x", "y"]


def test_no_recipe(files, tmp_path):
    """Flags alone will do."""
    args = parse(
        [
            "--output_dir",
            str(tmp_path / "o"),
            "--train_file",
            files["train_file"],
            "--from_scratch",
            "tiny",
        ]
    )
    assert args.data.train_file == files["train_file"] and args.data.label_columns == ["label"]


def test_values_are_typed_as_on_the_command_line(tmp_path, files):
    """YAML reads `5e-5` as text, and lists may be written either way."""
    path = tmp_path / "a.yaml"
    path.write_text(
        f"output_dir: o\ntrain_file: {files['train_file']}\nfrom_scratch: tiny\nlearning_rate: 5e-5\n"
        "label_names: [no=0, yes=1]\nrun_tags:\n  - a\n  - b c\ngroup_by_length: true\ndo_train: yes\n"
        "lr_scheduler_kwargs: {num_cycles: 2}\nfocal_gamma: 2\n"
    )
    args = parse([str(path)])
    assert args.training.learning_rate == 5e-5 and args.objective.focal_gamma == 2.0
    assert args.data.label_names == ["no=0", "yes=1"] and args.training.run_tags == ["a", "b c"]
    assert args.training.group_by_length is True and args.training.lr_scheduler_kwargs == {
        "num_cycles": 2
    }


def test_negative_numbers_in_a_list(recipe):
    """`-2` is a label, not a flag."""
    assert parse([recipe(label_names=[-2, -1, 0, 1])]).data.label_names == ["-2", "-1", "0", "1"]


@pytest.mark.parametrize(
    "written",
    ["[yes, no, on, off]", "['yes', no, \"on\", off]", "\n  - yes\n  - no\n  - on\n  - off"],
)
def test_items_of_a_list_are_kept_as_written(tmp_path, files, written):
    """YAML reads `yes` as true, `null` as nothing, 1:30 as 90 and 010 as 8: all of them may be names of classes."""
    path = tmp_path / "a.yaml"
    head = f"output_dir: o\ntrain_file: {files['train_file']}\nfrom_scratch: tiny\ngroup_by_length: on\n"
    path.write_text(
        f"{head}label_names: {written}\nrun_tags: [null, 1:30, 010, 2020-01-01, 1.50]\n"
    )
    args = parse([str(path)])
    assert (
        args.data.label_names == ["yes", "no", "on", "off"]
        and args.training.group_by_length is True
    )
    assert args.training.run_tags == ["null", "1:30", "010", "2020-01-01", "1.50"]
    write_resolved(args, tmp_path)
    again = parse([str(tmp_path / "resolved_config.yaml")])
    assert (
        again.data.label_names == args.data.label_names
        and again.training.run_tags == args.training.run_tags
    )


@pytest.mark.parametrize(
    "value, expected", [(True, True), (False, False), ("yes", True), ("no", False)]
)
def test_booleans(recipe, value, expected):
    """In a recipe, and with a value or alone on the command line."""
    assert parse([recipe(group_by_length=value)]).training.group_by_length is expected
    assert parse(
        [recipe(group_by_length=not expected), "--group_by_length", str(value)]
    ).training.group_by_length is (expected)
    assert (
        parse([recipe(group_by_length=False), "--group_by_length"]).training.group_by_length is True
    )


@pytest.mark.parametrize("written", ["no", "off", "false", "No", "'no'", "none"])
def test_words_for_off(recipe, written):
    """YAML reads `save_strategy: no` as false; a person means the choice called `no`, or `none`."""
    path = recipe()
    flags = [
        "eval_strategy",
        "save_strategy",
        "logging_strategy",
        "report_to",
        "adversarial",
        "balance",
        "calibrate",
    ]
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(
            f"{name}: {written}\n" for name in [*flags, "clean", "class_weights", "focal_alpha"]
        )
    args = parse([path])
    assert {
        args.training.eval_strategy,
        args.training.save_strategy,
        args.training.logging_strategy,
    } == {"no"}
    assert args.training.report_to == [] and args.data.clean is None
    assert {args.training.adversarial, args.data.balance, args.model.calibrate} == {"none"}
    assert args.objective.class_weights is None and args.objective.focal_alpha is None
    assert parse([recipe(), "--save_strategy", written.strip("'")]).training.save_strategy == "no"
    again = yaml.safe_load(yaml.safe_dump(resolved(args)))
    assert again["save_strategy"] == "no" and again["report_to"] in ("none", ["none"])


def test_false_from_python(recipe, files, tmp_path):
    """`fit(save_strategy=False)`."""
    flags = {
        "output_dir": tmp_path / "o",
        "train_file": files["train_file"],
        "from_scratch": "tiny",
    }
    args = parse_values(flags | {"save_strategy": False, "report_to": False, "balance": False}, {})
    assert (args.training.save_strategy, args.training.report_to, args.data.balance) == (
        "no",
        [],
        "none",
    )


def test_words_that_are_no_booleans(tmp_path, files):
    """A column may be called `no`; a switch may be off; `yes` chooses nothing."""
    path = tmp_path / "a.yaml"
    head = f"output_dir: o\ntrain_file: {files['train_file']}\nfrom_scratch: tiny\n"
    path.write_text(f"{head}text_column: no\nrun_name: on\ngroup_by_length: on\ndo_eval: off\n")
    args = parse([str(path)])
    assert (args.data.text_column, args.training.run_name) == ("no", "on")
    assert args.training.group_by_length is True and args.training.do_eval is False
    path.write_text(f"{head}save_strategy: yes\n")
    assert "invalid choice: 'yes' (choose from" in refusal(str(path))


def test_null_is_not_given(recipe):
    """A method is off with null, and the default holds."""
    args = parse([recipe(focal_gamma=None, rdrop_alpha=None, label_names=None, max_length=None)])
    assert (
        args.objective.focal_gamma == 0
        and args.data.label_names is None
        and args.data.max_length == 128
    )
    assert "focal_gamma" not in args.given


def test_helpers():
    """The pieces."""
    assert flag_names(["r.yaml", "--max_steps", "3", "--fp16", "--run-group=a", "-x"]) == [
        *("max_steps", "fp16", "run_group"),
    ]
    assert to_tokens({"a": [1, -2], "b": True, "c": {"d": False}, "e": 1e-05}) == [
        *("--a", "1", "-2", "--b", "true", "--c", '{"d": false}', "--e", "1e-05"),
    ]


# --- refused --------------------------------------------------------------------------------------------------------


def test_unknown_key_names_the_nearest(recipe):
    """In a recipe, with its path."""
    path = recipe(learning_rat=1)
    assert refusal(path) == f"unknown key learning_rat in {path}; did you mean 'learning_rate'?"
    assert refusal(recipe(focal_gama=None)).endswith("did you mean 'focal_gamma'?")


@pytest.mark.parametrize(
    "flag, near",
    [
        ("--focal_gama", "focal_gamma"),
        ("--num_train_epoch=3", "num_train_epochs"),
        ("--max-lenght", "max_length"),
    ],
)
def test_unknown_flag_names_the_nearest(recipe, flag, near):
    """On the command line; no abbreviation is taken."""
    assert refusal(recipe(), flag, "3").endswith(f"; did you mean {near!r}?")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--xyzzy", "1"], "unknown flag --xyzzy"),
        (["--pooling", "meen"], "did you mean 'mean'?"),
        (["--max_length", "long"], "invalid int value: 'long'"),
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["--group_by_length", "maybe"], "maybe"),
        (["--pooling"], "argument --pooling: expected one argument"),
        (
            ["--seed", "1", "other.yaml"],
            "cannot place 'other.yaml' on the command line (the recipe comes first)",
        ),
        (["-x"], "cannot place '-x'"),
        (["--eval_strategy", "sometimes"], "sometimes"),
        (["--accelerator_config", "missing.json"], "missing.json"),
        (["--learning_rate", "-1"], "learning_rate -1.0 is out of range: it must be at least 0"),
        (["--num_train_epochs", "nan"], "num_train_epochs nan is out of range"),
        (
            ["--per_device_train_batch_size", "0"],
            "per_device_train_batch_size 0 is out of range: it must be at least 1",
        ),
    ],
)
def test_refused_flags(recipe, flags, message):
    """One line, no usage page, no traceback."""
    assert message in refusal(recipe(), *flags)


@pytest.mark.parametrize(
    "content, message",
    [
        ("a: [", "is not valid YAML"),
        ("- a\n", "must be a flat mapping"),
        ("", "must be a flat mapping"),
        ("text", "must be a flat mapping"),
        ("1: a", "must be a flat mapping"),
        ("\udcff", "is not valid YAML"),
        ("seed: 1\nmax_length: 8\nseed: 2\n", "gives seed more than once"),
        ("help: true", "unknown key help in"),
    ],
)
def test_refused_recipes(tmp_path, content, message):
    """With the path."""
    path = tmp_path / "a.yaml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert message in refusal(str(path)) and str(path) in refusal(str(path))


def test_missing_recipe(tmp_path):
    """And a folder in its place."""
    assert refusal("none.yaml") == "recipe none.yaml does not exist"
    assert refusal(str(tmp_path)) == f"recipe {tmp_path} does not exist"


def test_output_dir_must_be_said(recipe):
    """The Trainer's own default is not taken, but may be asked for."""
    assert refusal(recipe(output_dir=...)).startswith("output_dir is missing")
    assert parse([recipe(output_dir="trainer_output")]).training.output_dir == "trainer_output"


# --- which encoder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, cli_names, from_scratch, recipes, expected",
    [
        ("seed", ["seed"], "none", "none", True),
        ("seed", ["max_steps"], "none", "none", False),
        ("model_name_or_path", ["from_scratch"], "tiny", "none", True),
        ("model_name_or_path", ["from_scratch"], "none", "none", False),
        ("model_name_or_path", ["seed"], "none", "none", False),
        ("from_scratch", ["model_name_or_path"], "none", "none", True),
        ("from_scratch", ["from_scratch"], "none", "none", True),
        ("config_overrides", ["model_name_or_path"], "none", "none", False),
        ("config_overrides", ["model_name_or_path"], "none", "tiny", True),
        ("config_overrides", ["from_scratch"], "small", "none", True),
        ("config_overrides", ["from_scratch"], "none", "none", False),
        ("config_overrides", ["config_overrides"], "none", "none", True),
        ("config_overrides", ["vocab_size"], "none", "none", False),
    ],
)
def test_overridden(key, cli_names, from_scratch, recipes, expected):
    """The whole table."""
    assert overridden(key, cli_names, from_scratch, recipes) is expected


def encoder(args: Arguments) -> tuple:
    """What decides the encoder."""
    return args.model.from_scratch, args.model.model_name_or_path, args.model.config_overrides


@pytest.mark.parametrize(
    "flags, expected",
    [
        ([], ("tiny", None, "hidden_size=64")),
        (["--from_scratch", "small"], ("small", None, None)),
        (["--from_scratch", "small", "--config_overrides", "a=1"], ("small", None, "a=1")),
        (["--config_overrides", "a=1"], ("tiny", None, "a=1")),
        (["--model_name_or_path", "bert"], ("none", "bert", None)),
        (["--from_scratch", "none", "--model_name_or_path", "bert"], ("none", "bert", None)),
        (["--from_scratch=none", "--model_name_or_path=bert"], ("none", "bert", None)),
    ],
)
def test_another_encoder_than_a_scratch_recipes(recipe, flags, expected):
    """One flag is enough to choose another."""
    assert encoder(parse([recipe(config_overrides="hidden_size=64"), *flags])) == expected


@pytest.mark.parametrize(
    "flags, expected",
    [
        ([], ("none", "bert", None)),
        (["--from_scratch", "mini"], ("mini", None, None)),
        (["--from_scratch", "none"], ("none", "bert", None)),
        (["--model_name_or_path", "other"], ("none", "other", None)),
    ],
)
def test_another_encoder_than_a_pretrained_recipes(recipe, flags, expected):
    """`--from_scratch none` switches nothing off where there is nothing."""
    assert encoder(parse([recipe(from_scratch=..., model_name_or_path="bert"), *flags])) == expected


def test_overrides_of_a_pretrained_recipe_are_for_its_local_copy_too(recipe):
    values = {
        "from_scratch": ...,
        "model_name_or_path": "bert",
        "config_overrides": "num_hidden_layers=4",
    }
    assert encoder(parse([recipe(**values), "--model_name_or_path", "copy"])) == (
        "none",
        "copy",
        "num_hidden_layers=4",
    )
    assert encoder(parse([recipe(**values), "--from_scratch", "tiny"])) == ("tiny", None, None)


def test_values_of_a_notebook_become_tokens():
    """Tuples, arrays and the columns of a data frame as lists; rates by part as the flag has them."""
    assert to_tokens({"label_columns": ("a", "b")}) == ["--label_columns", "a", "b"]
    assert to_tokens({"class_weights": np.array([1.0, 2.5])}) == ["--class_weights", "1.0", "2.5"]
    assert to_tokens({"label_columns": pandas.Index(["a", "b"])}) == ["--label_columns", "a", "b"]
    groups = {"embeddings": 2e-5, "layers.0-5": "3e-5"}
    assert to_tokens({"parameter_groups": groups}) == [
        "--parameter_groups",
        "embeddings=2e-05",
        "layers.0-5=3e-5",
    ]


def test_rates_by_part_as_a_mapping(recipe):
    values = recipe(parameter_groups={"embeddings": 2e-5, "head": 5e-5})
    assert parse([values]).training.parameter_groups == ["embeddings=2e-05", "head=5e-05"]


def test_from_scratch_none_leaves_no_encoder(recipe):
    """And says so."""
    assert refusal(recipe(), "--from_scratch", "none").startswith(
        "no encoder: give --model_name_or_path"
    )


# --- contradictions: the message has both values ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, parts",
    [
        ({"model_name_or_path": "bert"}, ["from_scratch tiny", "model_name_or_path bert"]),
        ({"from_scratch": ...}, ["no encoder", "--from_scratch tiny|mini"]),
        ({"head_dropout": 1.5}, ["head_dropout 1.5", "at least 0 and at most 1"]),
        ({"vocab_size": 3}, ["vocab_size 3", "at least 16"]),
        ({"max_length": 2}, ["max_length 2", "at least 4"]),
        ({"early_stopping_patience": 2}, ["early_stopping_patience 2", "eval_strategy is no"]),
        (
            {"early_stopping_patience": 2, "eval_strategy": "epoch", "validation_file": True},
            ["early_stopping_patience 2", "load_best_model_at_end true", "false"],
        ),
        ({"eval_strategy": "epoch"}, ["eval_strategy epoch", "no validation_file"]),
        (
            {"eval_strategy": "epoch", "validation_file": True, "save_strategy": "best"},
            ["save_strategy best", "metric_for_best_model"],
        ),
        (
            {
                "eval_strategy": "epoch",
                "validation_file": True,
                "save_strategy": "no",
                "load_best_model_at_end": True,
            },
            ["load_best_model_at_end", "Evaluation strategy: epoch", "Save strategy: no"],
        ),
        (
            {"eval_strategy": "epoch", "validation_file": True, "load_best_model_at_end": True},
            ["Save strategy: steps", "; give --save_strategy epoch"],
        ),
        ({"do_train": False}, ["do_train false", "neither validation_file nor test_file"]),
        ({"layer_wise_lr_decay": 0}, ["layer_wise_lr_decay 0", "above 0 and at most 1"]),
        ({"layer_wise_lr_decay": 1.1}, ["layer_wise_lr_decay 1.1", "above 0 and at most 1"]),
        ({"head_lr_factor": 0}, ["head_lr_factor 0", "above 0"]),
        (
            {"early_stopping_patience": -1, "eval_strategy": "epoch", "validation_file": True},
            ["patience -1"],
        ),
        (
            {"parameter_groups": ["head=1e-3"], "layer_wise_lr_decay": 0.9},
            ["parameter_groups head=1e-3", "layer_wise_lr_decay 0.9"],
        ),
        (
            {"parameter_groups": ["head=1e-3"], "head_lr_factor": 2},
            ["parameter_groups head=1e-3", "head_lr_factor 2.0"],
        ),
        (
            {"parameter_groups": ["layers.3-=1e-3", "layers.0-3=1e-4"]},
            ["layers.0-3=1e-4 and layers.3-=1e-3 overlap"],
        ),
        ({"parameter_groups": ["head=1e-3", "head=1e-4"]}, ["head=1e-3 and head=1e-4 overlap"]),
        (
            {"parameter_groups": ["layers.0-3=1e-3", "layers.5-=1e-4"]},
            ["layers.0-3=1e-3 and layers.5-=1e-4", "leave out layer 4"],
        ),
        ({"parameter_groups": ["layers.6-=1e-3"]}, ["layers.6-=1e-3", "layer 0 is in none"]),
        ({"parameter_groups": ["layers.5-2=1e-3"]}, ["'layers.5-2=1e-3' counts down"]),
        ({"parameter_groups": ["head.1=1e-3"]}, ["'head.1=1e-3' numbers the head"]),
        ({"parameter_groups": ["heads=1e-3"]}, ["'heads=1e-3' is none of", "head=RATE"]),
        ({"parameter_groups": ["head=fast"]}, ["'head=fast' is none of"]),
        ({"parameter_groups": ["head=-1"]}, ["head=-1", "at least 0"]),
        (
            {"parameter_groups": ["embeddings=1e-3"], "freeze_embeddings": True},
            ["parameter_groups embeddings=1e-3", "freeze_embeddings is true"],
        ),
        (
            {"parameter_groups": ["layers.0-1=1e-3", "layers.2-=1e-4"], "freeze_layers": 2},
            ["parameter_groups layers.0-1=1e-3", "freeze_layers is 2"],
        ),
        (
            {"lr_scheduler_type": "constant", "warmup_ratio": 0.1},
            ["warmup_ratio 0.1", "constant_with_warmup"],
        ),
        (
            {"lr_scheduler_type": "constant", "warmup_steps": 10},
            ["warmup_steps 10", "lr_scheduler_type is constant"],
        ),
        ({"ema_decay": 1}, ["ema_decay 1.0"]),
        ({"ema_decay": -0.1}, ["ema_decay -0.1"]),
        ({"reinit_layers": 1}, ["reinit_layers 1", "from_scratch tiny"]),
        ({"freeze_layers": -1}, ["freeze_layers -1", "at least 0"]),
        ({"multi_sample_dropout": 0}, ["multi_sample_dropout 0", "at least 1"]),
        (
            {"multi_sample_dropout": 4, "head_dropout": 0},
            ["multi_sample_dropout 4", "head_dropout is 0"],
        ),
        (
            {"freeze_embeddings": True, "adversarial": "pgd"},
            ["adversarial pgd", "freeze_embeddings is true"],
        ),
        ({"adversarial": "fmg"}, ["invalid choice: 'fmg'", "did you mean 'fgm'?"]),
        ({"adversarial_epsilon": 1}, ["adversarial_epsilon 1.0", "adversarial is none"]),
        ({"adversarial_steps": 2}, ["adversarial_steps 2", "adversarial is none"]),
        ({"adversarial_start_epoch": 0}, ["adversarial_start_epoch 0.0", "adversarial is none"]),
        (
            {"adversarial": "fgm", "adversarial_epsilon": -1},
            ["adversarial_epsilon -1.0", "at least 0"],
        ),
        ({"adversarial": "pgd", "adversarial_steps": 0}, ["adversarial_steps 0", "at least 1"]),
        (
            {"adversarial": "fgm", "adversarial_steps": 3},
            ["adversarial fgm", "adversarial_steps is 3", "pgd"],
        ),
        (
            {"adversarial": "awp", "num_train_epochs": 1},
            ["adversarial_start_epoch 1.0", "num_train_epochs 1.0"],
        ),
        ({"focal_gamma": -1}, ["focal_gamma -1", "at least 0"]),
        ({"rdrop_alpha": "inf"}, ["rdrop_alpha inf", "at least 0"]),
        ({"seed": -1}, ["seed -1", "at least 0"]),
        ({"max_train_samples": -3}, ["max_train_samples -3", "at least 1"]),
        ({"max_eval_samples": 0}, ["max_eval_samples 0", "at least 1"]),
        ({"batch_eval_metrics": True}, ["batch_eval_metrics true"]),
        ({"prediction_loss_only": True}, ["prediction_loss_only true"]),
        ({"eval_do_concat_batches": False}, ["eval_do_concat_batches false"]),
        (
            {"save_only_model": True, "resume_from_checkpoint": True},
            ["save_only_model true", "resume_from_checkpoint"],
        ),
        ({"focal_gamma": "nan"}, ["focal_gamma nan", "at least 0"]),
        ({"rdrop_alpha": -0.5}, ["rdrop_alpha -0.5", "at least 0"]),
        ({"focal_alpha": [0.25]}, ["focal_alpha [0.25]", "focal_gamma is 0"]),
        ({"focal_alpha": [1, 0], "focal_gamma": 2}, ["focal_alpha 0", "above 0"]),
        (
            {"label_smoothing_factor": 0.1, "focal_gamma": 2},
            ["label_smoothing_factor 0.1", "focal_gamma 2.0"],
        ),
        ({"label_smoothing_factor": 1.5}, ["label_smoothing_factor 1.5", "at most 1"]),
        (
            {"label_smoothing_factor": 0.1, "task": "multi_label"},
            ["label_smoothing_factor 0.1", "task multi_label"],
        ),
        ({"task": "regression", "focal_gamma": 2}, ["focal_gamma 2.0", "regression"]),
        ({"task": "regression", "focal_alpha": "balanced"}, ["focal_alpha balanced", "regression"]),
        (
            {"task": "regression", "class_weights": [1, 2]},
            ["class_weights [1.0, 2.0]", "regression"],
        ),
        (
            {"task": "regression", "label_smoothing_factor": 0.1},
            ["label_smoothing_factor 0.1", "task regression"],
        ),
        ({"regression_loss": "mse"}, ["regression_loss mse", "single_label"]),
        (
            {"class_weights": "balanced", "focal_alpha": [0.25], "focal_gamma": 2},
            ["class_weights balanced", "focal_alpha [0.25]", "drop one"],
        ),
        (
            {"class_weights": "balanced", "focal_gamma": 2},
            ["class_weights balanced", "focal_gamma 2.0", "focal_alpha"],
        ),
        ({"class_weights": [1, -1]}, ["class_weights -1.0", "above 0"]),
        (
            {"class_weights": "ballanced"},
            ["class_weights ballanced", "none, balanced, effective, or numbers"],
        ),
        (
            {"focal_alpha": [1.5], "focal_gamma": 2, "task": "multi_label"},
            ["focal_alpha 1.5", "at most 1"],
        ),
        ({"label_separator": ";"}, ["label_separator ';'", "single_label"]),
        ({"label_separator": "", "task": "multi_label"}, ["label_separator is empty"]),
        ({"calibrate": "temperature"}, ["calibrate temperature", "no validation_file"]),
        (
            {"calibrate": "both", "task": "regression", "validation_file": True},
            ["calibrate both", "not possible for the task regression"],
        ),
        (
            {
                "calibrate": "thresholds",
                "task": "multi_aspect",
                "label_columns": ["a", "b"],
                "validation_file": True,
            },
            ["calibrate thresholds", "multi_aspect"],
        ),
        (
            {"calibrate": "both", "do_train": False, "validation_file": True},
            ["calibrate both", "do_train is false"],
        ),
        ({"dataset_name": "imdb"}, ["dataset_name imdb", "train_file ", "train.csv", "drop one"]),
        (
            {"dataset_name": "imdb", "train_file": ..., "validation_file": True},
            ["dataset_name imdb", "validation_file ", "validation.csv", "drop one"],
        ),
        ({"train_file": ...}, ["nothing to train on: give --train_file or --dataset_name"]),
        ({"train_file": "missing.csv"}, ["train_file: missing.csv does not exist"]),
        ({"test_file": "."}, ["test_file: . is a folder"]),
        ({"task": "multi_aspect"}, ["multi_aspect needs --label_columns"]),
        ({"label_columns": ["a", "b"]}, ["single_label takes one label column", "names 2"]),
    ],
)
def test_contradictions(recipe, files, values, parts):
    """Found before any data is read."""
    values = {
        key: files[key] if value is True and key in files else value
        for key, value in values.items()
    }
    message = refusal(recipe(**values))
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    "metric, more_is_better",
    [
        *[
            ("f1_macro_reception", True),
            ("f1_macro_loss", True),
            ("f1_macro_rmse", True),
            ("pearson_loss", True),
        ],
        *[
            ("loss", False),
            ("eval_loss", False),
            ("mcrmse", False),
            ("eval_rmse_Syntax", False),
            ("rmse_score", False),
        ],
    ],
)
def test_which_way_a_metric_is_better(recipe, files, metric, more_is_better):
    """Whatever the columns are called."""
    values = {
        "metric_for_best_model": metric,
        "eval_strategy": "epoch",
        "validation_file": files["validation_file"],
    }
    assert parse([recipe(**values)]).training.greater_is_better is more_is_better


@until_4
@pytest.mark.parametrize("method, value", [("adversarial", "fgm"), ("ema_decay", 0.9)])
def test_what_needs_whole_parameters(method, value, recipe, monkeypatch):
    """Parsing `fsdp` sets environment variables for every later Trainer: they must not outlive this test."""
    monkeypatch.setattr("os.environ", dict(os.environ))
    message = refusal(recipe(**{method: value}, fsdp="full_shard"))
    assert f"{method} {value}" in message and "fsdp" in message and "full_shard" in message


@until_4
def test_sharding_without_gpus(recipe, monkeypatch):
    """Refused before rows are read: accelerate would end in a RuntimeError, or train unsharded and say nothing."""
    monkeypatch.setattr("os.environ", dict(os.environ))
    message = refusal(recipe(fsdp="full_shard auto_wrap", use_cpu=True))
    assert "fsdp needs a GPU for each process, and this trains on cpu" in message


def test_what_contradicts_nothing(recipe, files):
    """The neighbours of the cases above pass."""
    parse([recipe(head_dropout=0, layer_wise_lr_decay=1, focal_alpha=[0.25], focal_gamma=2)])
    parse(
        [recipe(adversarial="fgm", adversarial_steps=1, adversarial_epsilon=0, num_train_epochs=1)]
    )
    parse([recipe(adversarial="awp", adversarial_start_epoch=0.5, num_train_epochs=1)])
    parse([recipe(label_smoothing_factor=0.1, class_weights="effective")])
    parse([recipe(parameter_groups=["layers.0-1=1e-3", "layers.2-=1e-4"], freeze_layers=1)])
    parse([recipe(lr_scheduler_type="constant_with_warmup", warmup_ratio=0.1, ema_decay=0.9)])
    parse([recipe(task="regression", regression_loss="mse", rdrop_alpha=1, class_weights="none")])
    parse([recipe(do_train=False, test_file=files["test_file"])])
    parse([recipe(task="multi_aspect", label_columns=["only"])])
    args = parse(
        [
            recipe(
                eval_strategy="epoch",
                save_strategy="epoch",
                validation_file=files["validation_file"],
                load_best_model_at_end=True,
                early_stopping_patience=2,
                metric_for_best_model="f1_macro",
            )
        ]
    )
    assert args.training.greater_is_better is True


@pytest.mark.parametrize(
    "metric, greater",
    [
        ("loss", False),
        ("eval_loss", False),
        ("f1_macro", True),
        ("rmse_a", False),
        ("mcrmse", False),
    ],
)
def test_which_way_is_better(recipe, metric, greater):
    """Taken from the metric's name."""
    assert parse([recipe(metric_for_best_model=metric)]).training.greater_is_better is greater


# --- and back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {},
        {
            "report_to": "none",
            "seed": 7,
            "label_names": ["no=-1", "yes=1"],
            "focal_gamma": 2,
            "focal_alpha": [1, 2.5],
        },
        {
            "parameter_groups": ["embeddings=2e-5", "layers.0-5=2e-5", "layers.6-=3e-5"],
            "ema_decay": 0.99,
        },
        {"report_to": ["wandb"], "lr_scheduler_type": "cosine", "learning_rate": "5e-5"},
        {
            "lr_scheduler_kwargs": {"a": 1, "b": [True, None]},
            "accelerator_config": {"split_batches": True},
        },
        {"debug": "underflow_overflow", "optim": "adamw_torch", "logging_steps": 0.1, "fsdp": ""},
        {
            "from_scratch": "mini",
            "config_overrides": "a=1,b=2",
            "run_tags": ["ümlaut", "two words"],
            "bf16": True,
        },
        {
            "id_column": "nr",
            "text_column": "好 吃",
            "do_train": True,
            "group_by_length": False,
            "save_total_limit": 1,
        },
    ],
)
def test_resolved_runs_again(recipe, tmp_path, values):
    """Parsing the file that was written gives the same flags, and writes the same file."""
    args = parse([recipe(**values), "--max_length", "33"])
    write_resolved(args, tmp_path)
    again = parse([str(tmp_path / "resolved_config.yaml")])
    assert (again.model, again.data, again.objective) == (args.model, args.data, args.objective)
    ours, theirs = args.training.to_dict(), again.training.to_dict()
    assert {
        key: (ours[key], theirs[key])
        for key in ours
        if ours[key] != theirs[key] and key != "logging_dir"
    } == {}
    assert resolved(again) == resolved(args)
    assert resolved(args)["max_length"] == 33 and {"learning_rate", "seed"} <= set(resolved(args))


@until_4
def test_resolved_leaves_out(recipe, tmp_path):
    """Secrets, and how the run was started."""
    flags = [
        "--hub_token",
        "s3cret",
        "--overwrite_output_dir",
        "--resume_from_checkpoint",
        "x",
        "--use_cpu",
        "true",
    ]
    args = parse([recipe(push_to_hub_token="s3cret-too"), *flags])
    assert args.training.hub_token
    write_resolved(args, tmp_path)
    text = (tmp_path / "resolved_config.yaml").read_text()
    assert "s3cret" not in text and "token" not in text
    assert not {"overwrite_output_dir", "resume_from_checkpoint", "use_cpu"} & set(resolved(args))


def test_a_ridge_head_is_one_linear_head(recipe):
    """Label attention has a head for each label."""
    values = {
        "task": "regression",
        "label_columns": ["a", "b"],
        "head_init": "ridge",
        "pooling": "label_attention",
    }
    assert "head_init ridge fits one linear head, but pooling label_attention" in refusal(
        recipe(**values)
    )
