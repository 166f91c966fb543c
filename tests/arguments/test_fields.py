"""How flags are declared, and what the parser makes of a dataclass."""

from dataclasses import dataclass

import pytest

from trainer_ext.arguments.command_line import Parser, parse_command
from trainer_ext.arguments.fields import (
    check_ranges,
    default_of,
    flag_type,
    flags_by_group,
    option,
    range_text,
)
from trainer_ext.errors import UserError


@dataclass
class Reading:
    _argument_group_name = "reading"

    encoding: str = option("utf-8", "Of the files.")


@dataclass(kw_only=True)
class Command(Reading):
    _argument_group_name = "command"

    source: str = option(help="A file.", positional=True, metavar="FILE")
    size: int = option(8, "How many.", minimum=1, maximum=9)
    share: float | None = option(None, "Which part: 10% or so.", above=0)
    names: list[str] = option(["a"], "Names.")
    model: list[str] | None = option(None, "Models.", action="append")
    quick: bool = option(False, "Hurry.")
    kind: str = option("none", "A kind.", choices=("none", "one"))


@pytest.mark.parametrize(
    "hint, item, many",
    [
        (int, int, False),
        (float | None, float, False),
        (list[str], str, True),
        (list[int] | None, int, True),
    ],
)
def test_flag_type(hint, item, many):
    assert flag_type(hint) == (item, many)


def test_flags_belong_to_the_class_that_declares_them():
    """Its own first, then those it inherits."""
    groups = flags_by_group(Command)
    assert list(groups) == ["command", "reading"]
    assert [flag.spec.name for flag in groups["reading"]] == ["encoding"]
    assert groups["command"][0].is_positional and groups["command"][-1].choices == ["none", "one"]


def test_a_list_is_copied_for_each_instance():
    first, second = Command(source="a"), Command(source="b")
    first.names.append("b")
    assert second.names == ["a"]


def test_parse_command():
    """Every kind of flag, in both spellings."""
    words = ["--quick", "rows.csv", "--size=3", "--names", "x", "y", "--model", "m", "--model", "n"]
    parsed = parse_command(Command, [*words, "--kind", "off", "--share", "0.5"])
    assert parsed == Command(
        source="rows.csv", size=3, names=["x", "y"], model=["m", "n"], quick=True, share=0.5
    )
    assert parse_command(Command, ["rows.csv"]) == Command(source="rows.csv")


@pytest.mark.parametrize(
    "words, message",
    [
        (["a", "--size", "0"], "size 0 is out of range: it must be at least 1 and at most 9"),
        (["a", "--size", "10"], "size 10 is out of range"),
        (["a", "--share", "0"], "share 0.0 is out of range: it must be above 0"),
        (["a", "--share", "nan"], "share nan is out of range"),
        (["a", "--kind", "onne"], "did you mean 'one'?"),
        (["a", "--quick=perhaps"], "'perhaps' is neither true nor false"),
        (["--source", "a"], "source stands without a flag, as the first argument"),
        (["a", "--encodin", "x"], "did you mean '--encoding'?"),
    ],
)
def test_refused(words, message):
    with pytest.raises(UserError) as refused:
        parse_command(Command, words)
    assert message in str(refused.value)


def test_help_says_what_a_flag_takes():
    """The range, the default and choices; percent signs are text."""
    shown = Parser([Command], prog="run", description="First.\n\nSecond.").format_help()
    assert shown.startswith("usage: run FILE [--flag value ...]\n\nFirst.\n\nSecond.")
    assert "How many (at least 1, at most 9; default: 8)." in shown
    assert "Which part: 10% or so (above 0)." in shown
    assert "--kind {none,one}" in shown and "--names TEXT ..." in shown


def test_ranges_of_lists():
    """Item by item; words have no range."""

    @dataclass
    class Weights:
        weights: list[float] | str | None = option(None, "Weights.", above=0)

    for value in (None, "balanced", [0.5, 2.0]):
        check_ranges(Weights(value))
    with pytest.raises(UserError, match="weights -1 is out of range"):
        check_ranges(Weights([0.5, -1]))


def test_range_text_and_default():
    specs = {flag.spec.name: flag.spec for flag in flags_by_group(Command)["command"]}
    assert range_text(specs["size"]) == "at least 1, at most 9"
    assert range_text(specs["share"]) == "above 0" and range_text(specs["names"]) == ""
    assert default_of(specs["names"]) == ["a"] and default_of(specs["source"]) is None
