"""An output that is gone on with: the same bytes wherever the run before it was stopped."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.data.io import partial as module
from trainer_ext.data.io.partial import partial_output
from trainer_ext.errors import UserError

IDENTITY = {"input": "a", "--keep_columns": ("x",)}
WINDOW = 3


@pytest.fixture(autouse=True)
def save_at_every_window(monkeypatch):
    """Not once a second: files of a test are written in less. No test can show what a disk has when its power fails."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(module, "INTERVAL", 0)
    monkeypatch.setattr(module, "SHARE", float("inf"))


def record(number: int) -> dict:
    """A row; every fourth one has a cell that is counted as a formula, and a line break."""
    text = f"=HYPERLINK({number}!)\r\né" if number % 4 == 1 else f"text {number}"
    return {"id": number, "text": text}


def write(path: Path, rows: int, stop: int | None = None, resume: bool = True, **identity) -> int:
    """Write an output of so many rows, or be interrupted before row `stop`; return the first row that was written."""

    def records(done: int):
        for number in range(done, rows):
            if number == stop:
                raise KeyboardInterrupt
            yield record(number)

    with partial_output(str(path), lambda: {**IDENTITY, **identity}, resume) as output:
        done = output.rows
        output.write(records(done), WINDOW)
    return done


def whole(name: str, rows: int) -> bytes:
    """Return what a run that is not interrupted writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, rows, resume=False)
        assert os.listdir(folder) == [name]
        return path.read_bytes()


def test_the_bytes_of_a_whole_run(tmp_path):
    """A line an object; a header once, and only what the file needs is quoted otherwise."""
    assert whole("a.jsonl", 1) == b'{"id": 0, "text": "text 0"}\n'
    assert whole("a.csv", 2) == ('"id","text"\n0,"text 0"\n"1","=HYPERLINK(1!)\r\né"\n'.encode())
    assert whole("a.csv", 0) == b""


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["a.jsonl", "a.CSV"]),
    rows=st.integers(0, 20),
    stops=st.lists(st.integers(0, 20), max_size=5),
    tail=st.binary(max_size=30),
)
def test_wherever_it_is_interrupted(name, rows, stops, tail):
    """Also with bytes behind the last state, as a killed process leaves them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        data = path.with_name(f"{name}.partial") / name
        safe = 0
        for stop in stops:
            if stop < safe or stop >= rows:
                continue
            with pytest.raises(KeyboardInterrupt):
                write(path, rows, stop)
            # All whole windows before the interruption.
            safe = stop - stop % WINDOW
            assert data.exists() == (safe > 0)
            assert not path.exists()
            if data.exists():
                data.write_bytes(data.read_bytes() + tail)
        assert write(path, rows) == safe
        assert path.read_bytes() == whole(name, rows)
        assert os.listdir(folder) == [name]


STEPS = ("fsync", "replace", "ftruncate", "unlink", "rmdir", "mkdir", "open")


def write_and_die(path: Path, step: int, before: bool, resume: bool = True) -> bool:
    """Write ten rows in a process that is gone before (or after) its step number `step`; tell whether it ended well."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    left = [step]

    def counted(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if before and left[0] < 0:
                os._exit(9)
            result = function(*args, **kwargs)
            if left[0] < 0:
                os._exit(9)
            return result

        return call

    # Whatever happens, this process must not go on with the tests.
    try:
        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        write(path, 10, resume=resume)
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize(
    "name, before",
    [
        ("a.jsonl", True),
        ("a.csv", False),
        pytest.param("a.jsonl", False, marks=pytest.mark.slow),
        pytest.param("a.csv", True, marks=pytest.mark.slow),
    ],
)
def test_a_process_may_die_at_any_step(tmp_path, name, before):
    """At each system call that changes something on the disk."""
    path = tmp_path / name
    expected = whole(name, 10)
    # Something of the last run is there, and is not taken for something of this one.
    path.write_bytes(b"old\n")
    starts = set()
    step = 0
    while not write_and_die(path, step, before):
        assert path.read_bytes() in (b"old\n", expected), step
        starts.add(write(path, 10))
        assert path.read_bytes() == expected, step
        assert os.listdir(tmp_path) == [name], step
        path.write_bytes(b"old\n")
        step += 1
    assert starts == {0, 3, 6, 9}
    assert step > 15


def write_after(path: Path) -> None:
    """Go on, or start again if the run died before it had removed the state of the other one."""
    state = module.read_state(path.with_name(f"{path.name}.partial"))
    if state is not None and state.identity["input"] == "other":
        with pytest.raises(UserError, match="the input has changed"):
            write(path, 10)
        write(path, 10, resume=False)
    else:
        write(path, 10)


def test_a_run_without_resume_dies_over_the_state_of_another(tmp_path):
    """The old state never speaks of the new run's rows."""
    path = tmp_path / "a.jsonl"
    step = 0
    ended = False
    while not ended:
        with pytest.raises(KeyboardInterrupt):
            write(path, 20, stop=7, input="other")
        ended = write_and_die(path, step, before=False, resume=False)
        if not ended:
            write_after(path)
        assert path.read_bytes() == whole("a.jsonl", 10)
        path.unlink()
        step += 1


def interrupted(path: Path) -> Path:
    """Write six rows of ten, and return the folder that they are kept in."""
    with pytest.raises(KeyboardInterrupt):
        write(path, 10, stop=7)
    return path.with_name(f"{path.name}.partial")


def test_another_identity_is_refused(tmp_path):
    """With what has changed; nothing is touched, and the same identity still goes on."""
    path = tmp_path / "a.jsonl"
    folder = interrupted(path)
    ending = "; without --resume all rows are answered anew$"
    with pytest.raises(UserError, match=f"the input has changed since{ending}"):
        write(path, 10, input="b")
    with pytest.raises(UserError, match=f"--no_text was None, and is True now{ending}"):
        write(path, 10, **{"--no_text": True})
    assert sorted(os.listdir(folder)) == ["a.jsonl", "state.json"]
    assert write(path, 10) == 6


def test_without_resume_it_is_begun_anew(tmp_path, caplog):
    """And a note says so."""
    path = tmp_path / "a.jsonl"
    folder = interrupted(path)
    caplog.clear()
    assert write(path, 10, resume=False, input="b") == 0
    assert f"{folder}, of an interrupted run, is removed" in caplog.text
    assert path.read_bytes() == whole("a.jsonl", 10)


def test_nothing_to_go_on_with(tmp_path, caplog):
    """A file that is there is answered anew: nobody knows of which input it is."""
    path = tmp_path / "a.jsonl"
    path.write_text("of last week\n")
    assert write(path, 4) == 0
    assert "there is no interrupted run to go on with; all rows are answered" in caplog.text
    assert path.read_bytes() == whole("a.jsonl", 4)


@pytest.mark.parametrize("damage", ["no file", "short", "no JSON", "other JSON", "list"])
def test_what_is_damaged_is_begun_anew(tmp_path, damage, caplog):
    """A state that cannot be right is not believed."""
    path = tmp_path / "a.jsonl"
    folder = interrupted(path)
    state = folder / "state.json"
    if damage == "no file":
        (folder / "a.jsonl").unlink()
    elif damage == "short":
        os.truncate(folder / "a.jsonl", json.loads(state.read_text())["bytes"] - 1)
    else:
        state.write_text({"no JSON": "{", "other JSON": '{"a": 1}', "list": "[1]"}[damage])
    caplog.clear()
    assert write(path, 10) == 0
    assert [entry.levelname for entry in caplog.records][0] == "WARNING"
    assert path.read_bytes() == whole("a.jsonl", 10)


def test_bad_input_leaves_nothing(tmp_path):
    """Rows that are kept would be of an input that has to change."""
    path = tmp_path / "a.jsonl"

    def records():
        yield from map(record, range(7))
        raise UserError("row 8 is bad")

    with (
        pytest.raises(UserError, match="row 8"),
        partial_output(str(path), lambda: IDENTITY, False) as output,
    ):
        output.write(records(), WINDOW)
    assert os.listdir(tmp_path) == []


def test_the_note_on_formulas_counts_rows_of_both_runs(tmp_path, caplog):
    """Rows 1, 5 and 9 have one."""
    path = tmp_path / "a.csv"
    interrupted(path)
    caplog.clear()
    write(path, 10)
    assert f"{path} has 3 cells that spreadsheets take as formulas (first in row 2)" in caplog.text


def test_two_processes_do_not_write_the_same_output(tmp_path):
    """The second one is refused, and the first one goes on."""
    path = tmp_path / "a.jsonl"
    with partial_output(str(path), lambda: IDENTITY, False) as output:
        with pytest.raises(UserError, match=f"--output {path}: another process is writing it"):
            write(path, 4)
        output.write(map(record, range(4)), WINDOW)
    assert path.read_bytes() == whole("a.jsonl", 4)


def test_files_of_others_stay(tmp_path):
    """In a folder that has the name by chance."""
    folder = tmp_path / "a.jsonl.partial"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    write(tmp_path / "a.jsonl", 4)
    assert os.listdir(folder) == ["notes.txt"]


def test_states_are_rare(tmp_path, monkeypatch):
    """One a second; nothing is hashed in a run that ends sooner."""
    monkeypatch.setattr(module, "INTERVAL", 3600)
    asked = []
    with partial_output(str(tmp_path / "a.jsonl"), lambda: asked.append(1) or {}, False) as output:
        output.write(map(record, range(1000)), WINDOW)
    assert asked == []
    assert output.saved.rows == 0
