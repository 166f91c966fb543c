"""Wrong flags of train.py are refused before torch is loaded, and only those that are wrong."""

import subprocess
import sys
from dataclasses import MISSING, field, fields, make_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from tests.conftest import ROOT
from tests.versions import until_4
from trainer_ext.arguments import first_pass
from trainer_ext.arguments.fields import GROUP_NAME
from trainer_ext.arguments.first_pass import GROUPS, kept_flags, refuse_wrong_flags, training_parser
from trainer_ext.arguments.parser import parse
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.compatibility import FlagsGoneIn5
from trainer_ext.errors import UserError
from trainer_ext.files import read_json

RECIPES = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture
def flags(tmp_path) -> list[str]:
    """The smallest complete run."""
    (tmp_path / "train.csv").touch()
    return [
        "--output_dir",
        str(tmp_path / "o"),
        "--train_file",
        str(tmp_path / "train.csv"),
        "--from_scratch",
        "tiny",
    ]


def test_the_kept_flags_are_those_of_transformers():
    """Else: `python -m trainer_ext.arguments.first_pass` writes them anew."""
    assert first_pass.described() == read_json(first_pass.FLAGS)


@pytest.mark.parametrize("name", ["transformers_flags.json", "transformers_flags_5.json"])
def test_no_flag_of_ours_is_kept_as_one_of_theirs(name):
    """A flag that is declared twice ends every command: both files follow when we take one over."""
    kept = read_json(first_pass.FLAGS.with_name(name))["flags"]
    theirs = {flag["spelt"][0].removeprefix("--") for flag in kept}
    ours = {spec.name for group in GROUPS for spec in fields(group)}
    ours -= {spec.name for spec in fields(FlagsGoneIn5)}  # theirs in one version, ours in the other
    assert "learning_rate" in theirs and not theirs & ours


def as_transformers_reads_them(group: type) -> type:
    """The same dataclass without the metadata that `HfArgumentParser` would hand to argparse."""
    known, hints, specs = {"help", "choices"}, get_type_hints(group), []
    for spec in fields(group):
        if spec.init:
            metadata = {key: value for key, value in spec.metadata.items() if key in known}
            copy = field(default=spec.default, metadata=metadata)
            if spec.default_factory is not MISSING:
                copy = field(default_factory=spec.default_factory, metadata=metadata)
            specs.append((spec.name, hints[spec.name], copy))
    return make_dataclass(group.__name__, specs)


@until_4
def test_the_parser_reads_flags_as_transformers_does():
    """Names, what they take, how it is read, and the default; of our flags and of those that are kept."""

    def plain(value):
        if isinstance(value, list):
            return [plain(item) for item in value]
        return getattr(value, "value", value)

    def known(actions, boolean) -> dict:
        about = {}
        for action in first_pass.settable(actions):
            kind = {boolean: "boolean", int: "int", float: "float"}.get(action.type)
            values = (action.nargs, action.const, list(action.choices or ()), action.default)
            about[tuple(action.option_strings)] = (action.dest, kind, *map(plain, values))
        return about

    groups = [
        as_transformers_reads_them(group) for group in (*GROUPS[:3], TrainingArguments, GROUPS[4])
    ]
    theirs = known(HfArgumentParser(groups)._actions, string_to_bool)
    ours = known(training_parser(kept_flags())._actions, first_pass.read_boolean)
    assert len(theirs) > 150
    assert ours == theirs


def test_every_group_has_a_subject():
    """`--help` shows it."""
    for group in (*GROUPS, *first_pass.LightTraining.__bases__):
        assert group is first_pass.LightTraining or GROUP_NAME in vars(group)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--max_seq_length", "64"],
        ["--learning_rate", "fast"],
        ["--pooling", "meen"],
        ["--eval_strategy", "sometimes"],
        ["--save_strategy", "yes"],
        ["--fold", "0"],
        ["--soup", "true"],
        ["--num_fold_workers", "2"],
        ["--focal_gamma", "-1"],
        ["--class_weights", "heavy"],
        ["--label_names", "missing.txt"],
        ["--test_file", "missing.csv"],
        ["--adversarial_epsilon", "1", "--freeze_embeddings", "true", "--adversarial", "fgm"],
        ["--seed", "1", "stray"],
    ],
    ids=" ".join,
)
def test_the_message_is_the_parsers_own(flags, wrong):
    """The first look refuses in the words of the second."""
    with pytest.raises(UserError) as early:
        refuse_wrong_flags([*flags, *wrong])
    with pytest.raises(UserError) as late:
        parse([*flags, *wrong])
    assert str(early.value) == str(late.value)


def test_what_is_right_passes(flags):
    """Flags of every kind, in both spellings."""
    refuse_wrong_flags(flags)
    refuse_wrong_flags([*flags, "--save-strategy", "no", "--fp16", "false", "--label_columns", "a", "b", "--task",
                        "multi_aspect", "--lr_scheduler_kwargs", "{}", "--ema_decay=0.9"])  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_passes(path, monkeypatch):
    """Given files."""
    monkeypatch.setattr("os.path.isfile", lambda path: True)
    given = path.read_text(encoding="utf-8")
    missing = [flag for flag in ("train_file", "validation_file") if f"{flag}:" not in given]
    refuse_wrong_flags(
        [str(path), *(word for flag in missing for word in (f"--{flag}", "rows.tsv"))]
    )


def test_another_version_of_transformers(flags, monkeypatch):
    """May have other flags: nothing is refused on a guess."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "4.99")
    refuse_wrong_flags([*flags, "--a_new_flag", "1"])


def test_help(capsys):
    """Every flag on a few lines of 80 columns, by subject, long explanations cut, no wall of usage."""
    with pytest.raises(SystemExit) as caught:
        refuse_wrong_flags(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0 and lines[0] == "usage: train.py [RECIPE.yaml] [--flag value ...]"
    text = "\n".join(lines)
    for shown in (
        "--learning_rate X",
        "--folds N",
        "objective:",
        "--warmup_ratio X",
        "--do_train [true|false]",
    ):
        assert shown in text
    assert max(map(len, lines)) <= 80 and len(lines) < 650


@pytest.mark.parametrize("command", [["train.py"], ["-m", "trainer_ext"]], ids=" ".join)
def test_without_torch(command):
    """A typo is refused with nothing heavy loaded."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command, "--learning_rat", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert (
        done.stderr.splitlines()[-1]
        == "error: unknown flag --learning_rat; did you mean 'learning_rate'?"
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "transformers", "datasets", "numpy", "pandas"}


@pytest.mark.parametrize(
    "command",
    ["predict.py", "export.py", "trainer_ext.data.report", "trainer_ext.data.augment", "trainer_ext.data.llm",
     "trainer_ext.data.balance", "trainer_ext.data.io.smp", "trainer_ext.tracking"],
)  # fmt: skip
def test_the_other_commands_are_quick_too(command):
    """`--help` loads no framework."""
    call = [command] if command.endswith(".py") else ["-m", command]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *call, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.startswith("usage:")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {
        "torch",
        "transformers",
        "datasets",
        "pandas",
        "sklearn",
        "onnxruntime",
        "openai",
    }


def test_the_file_travels_with_the_package():
    """An installed package has it as well."""
    assert "trainer_ext.arguments = *.json" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert Path(first_pass.FLAGS).parent.name == "arguments"
