"""What a user sees when something is wrong: one line, an exit status, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer_ext.errors import ArgumentParser, UserError, did_you_mean, run_main

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "word, expected",
    [
        ("focal_gama", "; did you mean 'focal_gamma'?"),
        ("rdrop", "; did you mean 'rdrop_alpha'?"),
        ("xyzzy", ""),
        ("", ""),
    ],
)
def test_did_you_mean(word, expected):
    """The nearest, or nothing when none is near."""
    assert did_you_mean(word, iter(["focal_gamma", "focal_alpha", "rdrop_alpha"])) == expected
    assert did_you_mean(word, []) == ""


@pytest.mark.parametrize("returned, status", [(None, 0), (0, 0), (1, 1)])
def test_exit_status(returned, status):
    """What main returns; None is 0."""
    with pytest.raises(SystemExit) as caught:
        run_main(lambda: returned)
    assert caught.value.code == status


def test_user_error(capsys):
    """Exit status 2 and one line on stderr."""

    def main() -> None:
        raise UserError("rows.csv, row 3: bad")

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "error: rows.csv, row 3: bad\n")


def test_other_errors_are_bugs():
    """They keep their traceback."""
    with pytest.raises(ZeroDivisionError):
        run_main(lambda: 1 // 0)


def run(code: str, **kwargs) -> subprocess.CompletedProcess:
    """A script that ends in run_main."""
    code = f"from trainer_ext.errors import UserError, run_main\n{code}\nrun_main(main)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True, **kwargs)


def test_no_traceback():
    """In a process of its own."""
    done = run("def main():\n    raise UserError('no') from ValueError('why')", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no\n")


@pytest.mark.parametrize(
    "body", ["for k in range(10**6): print(k)", "print('a short answer')"], ids=["many lines", "one line"]
)
def test_broken_pipe(body):
    """`predict.py ... | head`: the reader goes away; no traceback, also when all of it fits the buffer."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = run(f"def main():\n    {body}", stdout=write_end)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def parser() -> ArgumentParser:
    """Some flags of predict.py."""
    parser = ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--output")
    parser.add_argument("--batch_size", type=int)
    return parser


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--model", "m", "--ouput", "a.csv"], "unrecognized arguments: --ouput a.csv; did you mean '--output'?"),
        (["--model", "m", "--batchsize=3"], "unrecognized arguments: --batchsize=3; did you mean '--batch_size'?"),
        (["--model", "m", "--xyzzy"], "unrecognized arguments: --xyzzy (--help"),
        (["--output", "a"], "the following arguments are required: --model (--help"),
        (["--model", "m", "--batch_size", "two"], "argument --batch_size: invalid int value: 'two'"),
        (["--model", "m", "--out", "a"], "unrecognized arguments: --out a"),
    ],
)
def test_argument_parser(parser, argv, message):
    """A `UserError` with the nearest flag instead of a page of usage."""
    with pytest.raises(UserError) as caught:
        parser.parse_args(argv)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(" (--help lists the flags)")
