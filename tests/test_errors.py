"""What a user sees when something is wrong: one line, an exit status, no traceback."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from trainer_ext.arguments.command_line import Parser
from trainer_ext.arguments.fields import option
from trainer_ext.arguments.first_pass import described_flags, kept_flags, training_parser
from trainer_ext.errors import (
    UserError,
    describe_error,
    did_you_mean,
    errors_at,
    explain,
    run_main,
    stage,
    take_debug,
)
from trainer_ext.synonyms import ALSO_CALLED

NAMES = [action.dest for action in training_parser(kept_flags() or described_flags())._actions]
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class ExportFlags:
    model: str = option(positional=True)
    output_dir: str | None = option(None)


@dataclass
class PredictFlags:
    model: str = option()
    output: str | None = option(None)
    batch_size: int | None = option(None)


@dataclass
class RowFlags:
    input: str = option()


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


@pytest.mark.parametrize(
    "error, status, expected",
    [
        (KeyboardInterrupt(), 130, "interrupted while saving"),
        (OSError(errno.ENOSPC, "No space left on device", "m/a.pt"), 1, "no space left on the disk while saving (m"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), 1, "no space left on"),
        (Exception("I/O error: No space left on device (os error 28)"), 1, "no space left on the disk while saving:"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/a.json"), 2, "/x/a.json: Permission denied while"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "out.csv"), 2, "out.csv: Is a directory while saving"),
        (OSError(errno.EIO, "Input/output error", "a"), 1, "a: Input/output error while saving"),
        (MemoryError(), 1, "out of memory while saving: no message; smaller"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "out of memory while saving: CUDA out"),
        (ValueError("a\n  b\x1b[31m"), 1, "ValueError while saving: a b\\x1b[31m (traceback: "),
        (RuntimeError("Caught\nTraceback (most recent call last):\n  x\nKey: 'k'"), 1, "RuntimeError while saving: K"),
        (ModuleNotFoundError("No module named 'datasets'", name="datasets"), 1, "datasets is not installed while sa"),
        (PackageNotFoundError("transformers"), 1, "transformers is not installed while saving: pip install -e ."),
        (ModuleNotFoundError("No module named 'torch.x'", name="torch.x"), 1, "ModuleNotFoundError while saving: No"),
        (UserError("row 3:\nbad"), 2, "row 3: bad"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)  # fmt: skip
def test_whatever_ends_a_script_is_one_line(error, status, expected, capsys, tmp_path, monkeypatch):
    """With the stage, an exit status, and no traceback on the screen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def main() -> None:
        with stage("while training"), stage("while saving"):
            raise error

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    shown = capsys.readouterr().err
    assert caught.value.code == status
    assert shown.startswith(f"error: {expected}") and shown.count("\n") == 1
    kept = list(tmp_path.glob("*.traceback.txt"))
    assert len(kept) == ("traceback: " in shown)
    assert all("in main" in path.read_text() and str(path) in shown for path in kept)


def test_the_cause_counts():
    """An error about an error about a full disk."""
    error = RuntimeError("cannot save")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert explain(error) == (
        "no space left on the disk: free some, then run the same command again",
        1,
    )


def test_debug_shows_the_traceback(capsys, monkeypatch):
    """It is no flag of the command itself, and child processes know of it."""
    monkeypatch.setattr(sys, "argv", ["train.py", "a.yaml", "--debug", "--fold", "0"])
    monkeypatch.delenv("TRAINER_EXT_DEBUG", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit):
        run_main(lambda: 1 // 0)
    shown = capsys.readouterr().err
    assert sys.argv == ["train.py", "a.yaml", "--fold", "0"] and os.environ["TRAINER_EXT_DEBUG"]
    assert "Traceback" in shown and shown.endswith(
        "error: ZeroDivisionError: integer division or modulo by zero\n"
    )


@pytest.mark.parametrize(
    "argv, kept, found",
    [
        (["--debug", "model"], ["model"], True),
        (["--debug", "underflow_overflow"], ["--debug", "underflow_overflow"], False),
        (["--text", "a", "--debug"], ["--text", "a"], True),
        (["--text", "debug"], ["--text", "debug"], False),
    ],
)
def test_take_debug(argv, kept, found):
    """transformers has a flag of this name, with a value."""
    assert take_debug(argv) == found
    assert argv == kept


def run(code: str, **kwargs) -> subprocess.CompletedProcess:
    """A script that ends in run_main."""
    code = f"from trainer_ext.errors import UserError, run_main\n{code}\nrun_main(main)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True, **kwargs
    )


def test_no_traceback():
    """In a process of its own."""
    done = run(
        "def main():\n    raise UserError('no') from ValueError('why')", stdout=subprocess.PIPE
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no\n")


@pytest.mark.parametrize(
    "body",
    ["for k in range(10**6): print(k)", "print('a short answer')"],
    ids=["many lines", "one line"],
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


def test_a_pipe_that_is_not_the_output():
    """One to another process may break too, and that is an error."""
    done = run("def main():\n    raise BrokenPipeError(32, 'Broken pipe')", stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "error: Broken pipe\n")


def test_output_to_a_full_disk():
    """`/dev/full` takes nothing: neither while printing nor at exit."""
    with open("/dev/full", "w") as full:
        done = run("def main():\n    print('an answer')", stdout=full)
    assert done.returncode == 1
    assert (
        done.stderr
        == "error: no space left on the disk: free some, then run the same command again\n"
    )


@pytest.mark.parametrize("closed, status", [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)])
def test_closed_streams(closed, status):
    """Python has no object for a stream that the caller closed; what is printed goes nowhere."""
    says = "print('x', file=sys.stderr) or print('y')"
    body = f"import sys; from trainer_ext.errors import run_main; run_main(lambda: {says})"
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, body]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == status
    assert done.stdout == ("" if ">&-" in closed.split() else "y\n")
    assert done.stderr == ("" if "2>&-" in closed else "x\n")


def test_interrupted():
    """Exit status 130, as shells report it."""
    code = "from trainer_ext.errors import run_main\nimport signal, time\n"
    # A suite that a shell started in the background hands down an ignored SIGINT.
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "def main():\n    print('on', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", f"{code}\nrun_main(main)"], cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=30)
    assert (process.returncode, shown) == (130, "error: interrupted\n")


@pytest.mark.parametrize(
    "argv",
    [
        ["--model", "m"],
        ["--model", "m", "--output_dir", "o"],
        ["--output_dir", "o", "--model_name_or_path=m", "x"],
        [],
    ],
    ids=" ".join,
)
def test_a_model_that_stands_without_a_flag(argv):
    """export.py takes it as its first argument, predict.py after --model."""
    parser = Parser([ExportFlags])
    with pytest.raises(UserError, match="; model stands without a flag, as the first argument"):
        parser.parse_args(argv)


@pytest.mark.parametrize(
    "word, flag",
    [("max_seq_length", "max_length"), ("text_column_name", "text_column"), ("model", "model_name_or_path"),
     ("num_epochs", "num_train_epochs"), ("lr", "learning_rate"), ("batch_size", "per_device_train_batch_size"),
     ("evaluation_strategy", "eval_strategy"), ("dev_file", "validation_file"), ("--max-seq-length", "max_length")],
)  # fmt: skip
def test_names_of_other_trainers(word, flag):
    """What run_glue and others call a flag of train.py."""
    assert did_you_mean(word, NAMES) == f"; did you mean {flag!r}?"


def test_synonyms_are_no_flags_themselves():
    """A target must be a flag somewhere; what is a flag of train.py needs no other name there."""
    for name, others in ALSO_CALLED.items():
        assert name not in others
        assert did_you_mean(others[0], [name]) == f"; did you mean {name!r}?"


@pytest.fixture
def parser() -> Parser:
    """Some flags of predict.py."""
    return Parser([PredictFlags])


@pytest.mark.parametrize(
    "argv, message",
    [
        (
            ["--model", "m", "--ouput", "a.csv"],
            "unrecognized arguments: --ouput a.csv; did you mean '--output'?",
        ),
        (
            ["--model", "m", "--batchsize=3"],
            "unrecognized arguments: --batchsize=3; did you mean '--batch_size'?",
        ),
        (["--model", "m", "--xyzzy"], "unrecognized arguments: --xyzzy (--help"),
        (
            ["--output", "a"],
            "the following arguments are required: --model; every value has its flag",
        ),
        (
            ["--model", "m", "--batch_size", "two"],
            "argument --batch_size: invalid int value: 'two'",
        ),
        (
            ["--model", "m", "--out", "a"],
            "unrecognized arguments: --out a; did you mean '--output'?",
        ),
        (
            ["--model_name_or_path", "m"],
            "unrecognized arguments: --model_name_or_path; did you mean '--model'?",
        ),
        (
            ["--model", "m", "--per_device_eval_batch_size", "2"],
            "unrecognized arguments: --per_device_eval_batch_size 2; did you mean '--batch_size'?",
        ),
        (
            ["--model", "m", "n"],
            "unrecognized arguments: n; every value has its flag, the model too: --model FOLDER",
        ),
    ],
)
def test_argument_parser(parser, argv, message):
    """A `UserError` with the nearest flag instead of a page of usage."""
    with pytest.raises(UserError) as caught:
        parser.parse_args(argv)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(" (--help lists the flags)")


@pytest.mark.parametrize(
    "given, expected",
    [
        (["--inptu", "a.csv"], "unrecognized arguments: --inptu; did you mean '--input'?"),
        (["--inptu=a.csv"], "unrecognized arguments: --inptu; did you mean '--input'?"),
        ([], "the following arguments are required: --input"),
    ],
)
def test_a_misspelt_flag_is_named_before_the_one_that_is_missing_for_it(given, expected):
    parser = Parser([RowFlags])
    with pytest.raises(UserError) as refused:
        parser.parse_args(given)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    "error, expected",
    [
        (ValueError("two\n words"), "two words"),
        (KeyError("name"), "KeyError 'name'"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("\x1b[31m red"), r"\x1b[31m red"),
        (RuntimeError("x y" * 100), ("x y" * 100)[:20] + " ..."),
        (
            RuntimeError("Traceback (most recent call last):\n  File\nOSError: the end\n"),
            "OSError: the end",
        ),
    ],
)
def test_what_a_library_says_is_one_line(error, expected):
    assert describe_error(error, longest=20) == expected


def test_a_place_stands_before_the_message():
    with pytest.raises(UserError, match=r"^a\.csv, row 3: no label$"), errors_at("a.csv, row 3"):
        raise UserError("no label")
    with pytest.raises(ValueError, match="^other$"), errors_at("a.csv, row 3"):
        raise ValueError("other")
