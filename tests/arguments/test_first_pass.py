"""Wrong flags of train.py are refused before torch is loaded, and only those that are wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from trainer_ext.arguments import first_pass
from trainer_ext.arguments.command_line import read_boolean
from trainer_ext.arguments.first_pass import light_parser, refuse_wrong_flags
from trainer_ext.arguments.parser import GROUPS, parse
from trainer_ext.errors import UserError
from trainer_ext.files import read_json

RECIPES = sorted((ROOT / "configs").rglob("*.yaml"))


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


def test_both_parsers_know_the_same():
    """Names, what they take and how it is read."""

    def plain(value):
        return (
            [plain(item) for item in value]
            if isinstance(value, list)
            else getattr(value, "value", value)
        )

    def known(parser) -> dict:
        about = {}
        for action in parser._actions:
            kind = action.type if action.type in (int, float, read_boolean) else None
            values = (action.nargs, action.const, list(action.choices or ()), action.default)
            about[tuple(action.option_strings)] = (action.dest, kind, *map(plain, values))
        return about

    light, real = known(light_parser()), known(first_pass.Parser(GROUPS))
    assert len(real) > 150
    assert light == real


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
    """Every flag on a line or two, long explanations cut, no wall of usage."""
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
    assert max(map(len, lines)) <= 140 and len(lines) < 500


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
