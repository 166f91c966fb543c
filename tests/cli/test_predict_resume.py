"""`predict.py --resume`: real processes that are killed, and go on to the bytes of a run that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_ok, run_script
from tests.inference.conftest import save_model, save_onnx
from trainer_ext.data.io.partial import State, read_state

ROWS = 12_000
WORDS = ("good", "bad", "dull", "food", "staff", "x")


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> dict[str, Path]:
    """A model, a file of rows that it takes seconds to answer, and the whole answers."""
    folder = tmp_path_factory.mktemp("resume")
    model = save_model(folder / "model")
    rows = ["id,review"]
    for number in range(ROWS):
        words = [WORDS[number % (2 + place)] for place in range(1 + number % 5)]
        rows.append(f"{number},{' '.join(words)}")
    source = folder / "rows.csv"
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    files = {"model": model, "input": source}
    for ending in ("jsonl", "csv"):
        files[ending] = folder / f"whole.{ending}"
        run_ok(*command(files, files[ending]))
    return files


def command(job: dict[str, Path], output: Path, *flags: str) -> list:
    """The command line of a job."""
    files = ["--model", job["model"], "--input", job["input"], "--output", output]
    return ["predict.py", *files, "--batch_size", "16", "--num_threads", "1", *flags]


def start(job: dict[str, Path], output: Path, *flags: str) -> subprocess.Popen:
    """Start a job in a process group of its own; it keeps rows every 50 ms, so that few of them are enough.

    It takes Ctrl-C whatever the suite was started by.
    """
    code = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from trainer_ext.data.io import partial; partial.INTERVAL = 0.05; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = [sys.executable, "-c", code, *map(str, command(job, output, *flags))]
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_state(process: subprocess.Popen, output: Path) -> None:
    """Wait until a running job keeps more rows than before."""
    folder = Path(f"{output}.partial")
    before = read_state(folder) or State()
    deadline = time.time() + 120
    while process.poll() is None and time.time() < deadline:
        state = read_state(folder)
        if state is not None and state.rows > before.rows:
            return
        time.sleep(0.002)
    pytest.fail(f"it kept no rows: {process.communicate()[1]}")


def test_killed_three_times(job, tmp_path):
    """Right after the start, and twice when rows are kept; nothing is lost and nothing is there twice."""
    output = tmp_path / "answers.jsonl"
    process = start(job, output, "--resume", "true")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = []
    for _ in range(2):
        process = start(job, output, "--resume", "true")
        wait_for_state(process, output)
        # A moment in the middle of a window.
        time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        shown = process.communicate()[1]
        kept.append("rows are answered already" in shown)
        assert not output.exists()
    assert kept == [False, True]
    done = run_ok(*command(job, output, "--resume", "true"))
    assert "rows are answered already; going on behind them" in done.stderr
    assert f"{ROWS} rows -> {output}" in done.stderr
    assert output.read_bytes() == job["jsonl"].read_bytes()
    assert os.listdir(tmp_path) == ["answers.jsonl"]


@pytest.mark.parametrize(
    "number, status, last",
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_interrupted_without_the_flag(job, tmp_path, number, status, last):
    """Who did not think of --resume before gives it afterwards; csv has its header once."""
    output = tmp_path / "answers.csv"
    process = start(job, output)
    wait_for_state(process, output)
    process.send_signal(number)
    shown = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == status
    assert f"are kept in {output}.partial: the same command with --resume true goes on" in shown[-2]
    assert shown[-1] == f"error: {last}"
    run_ok(*command(job, output, "--resume"))
    assert output.read_bytes() == job["csv"].read_bytes()
    assert os.listdir(tmp_path) == ["answers.csv"]


def test_another_input_model_or_form_is_refused(job, tmp_path):
    """One line and status 2; --resume false starts anew."""
    output = tmp_path / "answers.jsonl"
    source = tmp_path / "rows.csv"
    source.write_bytes(job["input"].read_bytes())
    model = save_model(tmp_path / "model")
    own = {**job, "input": source, "model": model}
    process = start(own, output)
    wait_for_state(process, output)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    def refusal(*flags: str) -> str:
        done = run_script(*command(own, output, "--resume", "true", *flags))
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]

    start_of_line = f"error: {output}.partial cannot be gone on with: "
    anew = "; without --resume all rows are answered anew"
    assert refusal("--no_text") == f"{start_of_line}--no_text was False, and is True now{anew}"
    # The last row, so that no answer that is kept differs.
    source.write_bytes(job["input"].read_bytes()[:-2] + b"y\n")
    assert refusal() == f"{start_of_line}the input has changed since{anew}"
    source.write_bytes(job["input"].read_bytes())
    save_onnx(model / "model.onnx", sign=-1)
    assert refusal() == f"{start_of_line}the model has changed since{anew}"
    source.write_text("id,review\n7,good\n")
    done = run_ok(*command(own, output, "--resume", "false"))
    assert f"{output}.partial, of an interrupted run, is removed" in done.stderr
    assert output.read_text().startswith('{"id": "7", "text": "good", "label": "neg"')
    assert len(output.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--input", "-", "--output", "a.csv"], "--input -: an interrupted run has read standard input"),
        (["--input", "a.txt", "--output", "-"], "--output -: what an interrupted run wrote there is gone"),
        (["--input", "a.txt", "--output", "/dev/null"], "--output /dev/null: what an interrupted run"),
        (["--input", "a.txt"], "--resume goes on with a file of answers: give --output FILE"),
        (["--text", "a", "--output", "a.csv"], "--resume is for a file of rows: give --input FILE"),
        (["--input", "a.txt", "--output", "a.csv", "--evaluate"], "--evaluate scores all rows together"),
    ],
)  # fmt: skip
def test_what_cannot_be_gone_on_with(flags, message):
    """Said before a model is loaded: there is none."""
    done = run_script("predict.py", "--model", "none", *flags, "--resume", "true")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1


def test_a_submission_goes_on(job, tmp_path):
    """Its rows are counted from the first run on; another sample is refused."""
    sample = tmp_path / "sample.csv"
    sample.write_text("id,label\n" + "".join(f"{number},pos\n" for number in range(ROWS)))
    output = tmp_path / "answers.csv"
    flags = ["--submission_format", str(sample)]
    process = start(job, output, *flags)
    wait_for_state(process, output)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wanted = sample.read_text()
    sample.write_text(wanted + "x,pos\n")
    done = run_script(*command(job, output, *flags, "--resume", "true"))
    assert (done.returncode, "the sample submission is another one" in done.stderr) == (2, True)
    sample.write_text(wanted)
    run_ok(*command(job, output, *flags, "--resume", "true"))
    lines = output.read_text().splitlines()
    assert len(lines) == ROWS + 1
    last = f'"{ROWS - 1}","neg"'
    assert [lines[0], lines[1], lines[-1]] == ['"id","label"', '"0","pos"', last]
