"""The commands as a whole: which there are, what their help shows, and what their flags take."""

import subprocess
import sys
from dataclasses import fields

import pytest

from tests.conftest import ROOT, run_ok, run_script
from tests.versions import until_4
from trainer_ext.arguments.command_line import parse_command
from trainer_ext.arguments.fields import Flag, check_bounds, flags_by_group, is_required, range_text
from trainer_ext.arguments.subcommands import choose_command
from trainer_ext.cli import document
from trainer_ext.cli.artifacts import SUBCOMMANDS
from trainer_ext.cli.commands import COMMANDS, is_training
from trainer_ext.cli.options import CommandOptions
from trainer_ext.errors import UserError
from trainer_ext.log import LEVELS

ALL_OPTIONS = [options for groups in document.OPTIONS.values() for options in groups]
ALL_OPTIONS += [command.options for command in SUBCOMMANDS.values()]
OUTSIDE_TRAIN = [options for options in ALL_OPTIONS if issubclass(options, CommandOptions)]
CALLS = [[name] for name in document.OPTIONS] + [["artifacts", name] for name in SUBCOMMANDS]


def flags_of(options: type) -> list[Flag]:
    """Return all flags of a dataclass."""
    return [flag for flags in flags_by_group(options).values() for flag in flags]


def smallest_command_line(options: type) -> list[str]:
    """Return what the command requires, with values that it takes."""
    words, positional = [], []
    for spec, kind in flags_of(options):
        if is_required(spec):
            value = str((spec.metadata.get("choices") or ["a"])[0])
            value = "1" if kind.item in (int, float) else value
            if spec.metadata.get("positional"):
                positional.append(value)
            else:
                words += [f"--{spec.name}", value]
    return positional + words


def test_there_is_a_file_for_every_command():
    """And every one of them is documented."""
    assert set(COMMANDS) == {*document.OPTIONS, "artifacts"}
    for name in COMMANDS:
        assert (ROOT / "trainer_ext" / "cli" / f"{name}.py").is_file()


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_help_is_readable(call):
    """In 80 columns, with what must be given in the first line, and the flags by subject."""
    shown = run_ok("-m", "trainer_ext", *call, "--help").stdout
    lines = shown.splitlines()
    assert lines[0].startswith(f"usage: trainer-ext {' '.join(call)}")
    assert [line for line in lines if len(line) > 80] == []
    subjects = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert len(subjects) >= 2


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=lambda options: options.__name__)
def test_every_flag_says_what_it_is(options):
    assert len(flags_of(options)) == len([spec for spec in fields(options) if spec.init])
    for spec, kind in flags_of(options):
        text = spec.metadata["help"]
        assert text.endswith((".", "...")), f"{spec.name}: {text!r}"
        assert kind.item in document.TYPE_WORDS


@pytest.mark.parametrize("options", OUTSIDE_TRAIN, ids=lambda options: options.__name__)
def test_a_range_that_is_printed_is_checked(options):
    """The parser refuses a number below it, and takes the smallest one."""
    base = smallest_command_line(options)
    parse_command(options, base)
    for spec, _ in flags_of(options):
        if range_text(spec):
            low = spec.metadata.get("minimum", spec.metadata.get("above"))
            with pytest.raises(UserError, match=f"^{spec.name} .* is out of range"):
                parse_command(options, [*base, f"--{spec.name}={low - 1}"])
            if "minimum" in spec.metadata:
                parse_command(options, [*base, f"--{spec.name}={low}"])


def test_ranges_of_training_flags():
    """A list is checked item by item; words and what is not given have no range."""
    specs = {spec.name: spec for group in document.OPTIONS["train"] for spec in fields(group)}
    for name, value in (("focal_alpha", 0.0), ("layer_wise_lr_decay", 1.5), ("vocab_size", 15)):
        with pytest.raises(UserError, match=f"{name} {value} is out of range"):
            check_bounds(specs[name], value)
    check_bounds(specs["layer_wise_lr_decay"], 1)


@until_4
def test_the_flags_page_is_true():
    """Else: `python -m trainer_ext.cli.document` writes it anew."""
    assert document.PATH.read_text(encoding="utf-8") == document.document()


def test_overview():
    """A line for each command."""
    shown = run_ok("-m", "trainer_ext", "--help", real=True).stdout
    for name, summary in COMMANDS.items():
        assert f"  {name} " in shown and summary.split()[0] in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    "words, message",
    [
        (["pridict"], "'pridict' is not a command; did you mean 'predict'?"),
        (["xyzzy"], "'xyzzy' is not a command; expected one of train, export"),
        ([], "no command was given; expected one of train, export"),
        (["artifacts", "lst"], "'lst' is not a command; did you mean 'list'?"),
        (["artifacts"], "no command was given; expected one of list, show"),
        (["artifacts", "show"], "are required: NAME[:ALIAS]"),
        (["predict", "--model", "m", "--text", "a", "--log_level", "loud"], "invalid choice: 'loud'"),
        (["missing.yaml"], "recipe missing.yaml does not exist"),
        (["--learning_rat", "1"], "unknown flag --learning_rat"),
    ],
)  # fmt: skip
def test_what_is_no_command(words, message):
    """One line, exit status 2."""
    done = run_script("-m", "trainer_ext", *words)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_recipe_or_flags_alone_train(tmp_path, monkeypatch):
    """As before there were subcommands; a file needs no ending."""
    (tmp_path / "recipe").touch()
    assert is_training(["a.yaml", "--seed", "1"]) and is_training(["--seed", "1"])
    assert is_training([str(tmp_path / "recipe")])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "predict").touch()
    assert not is_training(["predict", "--model", "m"])
    assert not is_training(["train", "a.yaml"]) and not is_training(["--help"])


def test_choose_command():
    assert choose_command(["a", "b", "--c"], {"a": "A."}, "p", "d") == ("a", ["b", "--c"])


@pytest.mark.parametrize("level", LEVELS)
def test_log_level(level, tmp_path):
    """Notes are shown at `info` and below; the answer on standard output stays."""
    rows = tmp_path / "smp.json"
    rows.write_text(
        '[{"text": "abab", "domain": "d", "intent": "QUERY", "slots": {"x": "abab", "y": "ab"}}]'
    )
    done = run_ok("-m", "trainer_ext", "smp", rows, tmp_path / "out.jsonl", "--log_level", level)
    assert done.stdout == f"1 rows -> {tmp_path / 'out.jsonl'}\n"
    assert ("left out y 'ab'" in done.stderr) == (level in ("debug", "info"))


def test_a_switch_does_not_swallow_the_file_after_it():
    """Switches take `true` and `false`, and nothing else."""
    options = document.OPTIONS["export"][0]
    for words, expected in (
        (["--benchmark", "model", "--output_dir", "o"], True),
        (["--benchmark", "false", "model", "--output_dir", "o"], False),
        (["model", "--output_dir", "o", "--benchmark"], True),
        (["--benchmark=no", "model", "--output_dir", "o"], False),
    ):
        parsed = parse_command(options, words)
        assert (parsed.model, parsed.benchmark) == ("model", expected)


def test_the_installed_command():
    """`trainer-ext` is `python -m trainer_ext`, which ends with a status and not with a traceback."""
    config = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert "trainer-ext = trainer_ext.__main__:main" in config
    code = "import sys; sys.argv[1:] = ['nothing']; from trainer_ext.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2 and done.stderr.startswith("error: trainer-ext: 'nothing'")
