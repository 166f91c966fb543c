"""How a file is written: flags that fit, and those that no file can follow."""

import pytest

from trainer_ext.arguments.command_line import parse_command
from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.files import FileOptions, ending_of, file_options
from trainer_ext.cli import augment, balance
from trainer_ext.cli.augment import AugmentOptions
from trainer_ext.cli.export import ExportFlags
from trainer_ext.cli.predict import PredictOptions
from trainer_ext.cli.report import ReportOptions
from trainer_ext.data.llm.options import LlmOptions
from trainer_ext.data.sampling.balance import BalanceOptions
from trainer_ext.errors import UserError


@pytest.mark.parametrize(
    "path, ending",
    [
        ("a.CSV", "csv"),
        ("a.b.jsonl.gz", "jsonl"),
        ("rows.csv.part1.gz", "csv"),
        ("rows.csv.gz.part12", "csv"),
        ("stsa.binary.train", "train"),
        ("a.part1.txt", "txt"),
        ("rows", ""),
    ],
)
def test_ending_of(path, ending):
    assert ending_of(path) == ending


@pytest.mark.parametrize(
    "given, separator", [(None, None), ("tab", "\t"), ("\\t", "\t"), ("space", " "), (";", ";")]
)
def test_delimiters_by_name(given, separator):
    assert FileOptions(delimiter=given).separator == separator


@pytest.mark.parametrize(
    "options, formats, words",
    [
        (
            FileOptions(delimiter=";"),
            ["jsonl"],
            "delimiter ; is for csv, tsv, txt, but the files are jsonl",
        ),
        (
            FileOptions(column_names=["a", "b"]),
            ["parquet"],
            r"column_names \['a', 'b'\] is for csv",
        ),
        (
            FileOptions(quoting="none"),
            ["txt"],
            "quoting none is for csv, tsv, but the files are txt",
        ),
        (FileOptions(delimiter=", "), ["csv"], "', ' is not one character"),
        (FileOptions(delimiter='"'), ["csv"], "cannot stand between fields"),
        (FileOptions(column_names=["a", "a"]), ["csv"], "'a' more than once"),
    ],
)
def test_contradictions(options, formats, words):
    with pytest.raises(UserError, match=words):
        options.check(formats)


def test_one_file_that_takes_a_flag_is_enough():
    """A tsv without header to train on, and jsonl to validate on."""
    FileOptions(column_names=["a", "b"], quoting="none").check(["jsonl", "tsv"])


def test_every_script_has_the_same_flags():
    argv = [
        "--file_format",
        "tsv",
        "--delimiter",
        "space",
        "--quoting",
        "none",
        "--column_names",
        "a",
        "b",
        "--drop_missing",
    ]
    given = file_options(parse_command(FileOptions, argv))
    assert given == FileOptions("tsv", "space", "none", ["a", "b"], True)
    assert parse_command(FileOptions, []) == FileOptions() == file_options(DataArguments())
    commands = (
        PredictOptions,
        ExportFlags,
        ReportOptions,
        AugmentOptions,
        LlmOptions,
        BalanceOptions,
    )
    assert all(issubclass(options, FileOptions) for options in (*commands, DataArguments))


def test_label_names_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("\ufeffjoy\r\nvery sad\n\n", encoding="utf-8")
    (tmp_path / "names.json").write_text('["joy", "very sad"]', encoding="utf-8")
    for name in ("names.txt", "names.json"):
        assert DataArguments(label_names=[str(tmp_path / name)]).label_names == ["joy", "very sad"]
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    for name, words in (("bad.json", "JSON list"), ("none.txt", "does not exist")):
        with pytest.raises(ValueError, match=words):
            DataArguments(label_names=[str(tmp_path / name)])


def test_the_commands_that_make_rows_read_as_train_py_does(tmp_path):
    """Balancing and augmenting a jsonl file under another ending."""
    source = tmp_path / "rows.txt"
    source.write_text(
        "".join(f'{{"text": "a good day number {k}", "label": "{k // 4}"}}\n' for k in range(5))
    )
    flags = ["--input", str(source), "--file_format", "jsonl", "--output"]
    balance.main([*flags, str(tmp_path / "balanced.jsonl"), "--method", "oversample"])
    assert len((tmp_path / "balanced.jsonl").read_text().splitlines()) == 8
    augment.main([*flags, str(tmp_path / "more.jsonl"), "--language", "en", "--target_size", "7"])
    assert len((tmp_path / "more.jsonl").read_text().splitlines()) == 7
