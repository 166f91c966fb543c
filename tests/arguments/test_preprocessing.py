"""Flags of cleaning, truncation and balancing: what contradicts itself is refused before data is read."""

import pytest

from trainer_ext.arguments.parser import parse, parse_values, resolved
from trainer_ext.errors import UserError


@pytest.fixture
def flags(tmp_path) -> list[str]:
    """The smallest complete command line; `words.txt` and `rows.csv` exist."""
    for name in ("rows.csv", "words.txt"):
        (tmp_path / name).write_text("the\n")
    return [
        "--output_dir",
        str(tmp_path / "out"),
        "--train_file",
        str(tmp_path / "rows.csv"),
        "--from_scratch",
        "tiny",
    ]


def test_defaults_and_values(flags, tmp_path):
    data = parse(flags).data
    assert (data.truncation, data.truncation_head_share, data.truncation_marker) == (
        "head",
        0.25,
        None,
    )
    assert (data.clean, data.stopwords_file, data.balance) == (None, None, "none")
    given = [
        "--clean",
        "html",
        "stopwords",
        "nfkc",
        "--stopwords_file",
        str(tmp_path / "words.txt"),
    ]
    args = parse(
        [
            *flags,
            *given,
            "--truncation",
            "head_tail",
            "--truncation_marker",
            "...",
            "--balance",
            "hybrid",
        ]
    )
    assert args.data.clean == ["html", "stopwords", "nfkc"]
    assert (
        resolved(args).items()
        >= {"truncation": "head_tail", "truncation_marker": "...", "balance": "hybrid"}.items()
    )


def test_none_switches_a_recipes_cleaning_off(flags):
    recipe = {
        "clean": ["html", "nfkc"],
        "from_scratch": "tiny",
        "train_file": flags[3],
        "output_dir": flags[1],
    }
    assert parse_values(recipe, {}).data.clean == ["html", "nfkc"]
    assert parse_values(recipe, {"clean": "none"}).data.clean is None
    assert parse_values(recipe, {"clean": None}).data.clean is None


@pytest.mark.parametrize(
    "given, message",
    [
        ("--truncation middle", "invalid choice: 'middle'"),
        ("--truncation headtail", "did you mean 'head_tail'"),
        (
            "--truncation_head_share 0.5",
            "truncation_head_share 0.5 is for .* head_tail, but truncation is head",
        ),
        (
            "--truncation tail --truncation_marker x",
            "truncation_marker x is for .* head_tail, but truncation is tail",
        ),
        (
            "--truncation head_tail --truncation_head_share 0",
            "truncation_head_share 0.0 is out of range",
        ),
        (
            "--truncation head_tail --truncation_head_share 1",
            "truncation_head_share 1.0 is out of range",
        ),
        ("--truncation head_tail --truncation_marker=", "truncation_marker '' has no tokens"),
        ("--truncation tail --task joint", "truncation tail would cut words"),
        ("--clean htlm", "did you mean 'html'"),
        ("--clean none html", "none stands alone"),
        ("--clean html nfkc html", "clean html nfkc html names html more than once"),
        ("--clean stopwords", "stopwords_file is not given"),
        ("--stopwords_file {words}", "stopwords_file .*words.txt has no effect: clean none"),
        ("--clean nfkc --stopwords_file {words}", "words.txt has no effect: clean nfkc"),
        ("--clean stopwords --stopwords_file no.txt", "no.txt is not a file"),
        ("--clean html --task joint", "clean html may drop or join words"),
        (
            "--clean nfkc stopwords --stopwords_file {words} --task joint",
            "clean stopwords may drop",
        ),
        (
            "--balance oversample --task regression",
            "balance oversample is for .*, but the task is regression",
        ),
        ("--balance hybrid --task joint", "balance hybrid is for .*, but the task is joint"),
        (
            "--balance hybrid --class_weights balanced",
            "balance hybrid and class_weights balanced both correct",
        ),
        (
            "--balance hybrid --focal_gamma 2 --focal_alpha effective",
            "focal_alpha effective both correct",
        ),
    ],
)
def test_refused(flags, tmp_path, given, message):
    with pytest.raises(UserError, match=message) as caught:
        parse([*flags, *given.format(words=tmp_path / "words.txt").split(" ")])
    assert "\n" not in str(caught.value)


def test_weights_that_the_user_chose_go_with_balance(flags):
    """They are no second correction of the same counts."""
    args = parse(
        [
            *flags,
            "--balance",
            "oversample",
            "--class_weights",
            "1",
            "2",
            "--clean",
            "nfkc",
            "control",
        ]
    )
    assert args.data.balance == "oversample" and args.objective.class_weights == [1.0, 2.0]
    assert parse([*flags, "--task", "joint", "--clean", "nfkc", "control"]).data.clean == [
        "nfkc",
        "control",
    ]
