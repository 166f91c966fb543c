"""Writing whole or not at all, whatever becomes of the writer."""

import json
import os
import signal
import stat

import pytest

from trainer_ext.files import (
    atomic_folder,
    atomic_path,
    atomic_writer,
    json_text,
    new_locked_folder,
    remove_abandoned,
    scratch_folder,
    write_text,
)


def killed(work) -> None:
    """Run `work` in a child process that is killed when it returns; what it returns stays open until then."""
    child = os.fork()
    if child == 0:
        try:
            kept = [work()]
            os.kill(os.getpid(), signal.SIGKILL)
            kept.clear()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def names(folder) -> list[str]:
    """What lies in a folder."""
    return sorted(os.listdir(folder))


def half_written(path):
    """Begin a file, and never end it."""
    writer = atomic_writer(path)
    writer.__enter__().write("half")
    return writer


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "first")
    with pytest.raises(ZeroDivisionError), atomic_writer(path) as file:
        file.write(f"half {1 / 0}")
    assert names(tmp_path) == ["a.txt"] and path.read_text() == "first"


def test_a_folder_is_whole_or_as_it_was(tmp_path):
    folder = tmp_path / "model"
    with atomic_folder(folder) as beside:
        (beside / "old").write_text("first")
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as beside:
        (beside / "new").write_text(f"half {1 / 0}")
    assert names(tmp_path) == ["model"] and names(folder) == ["old"]
    with atomic_folder(folder) as beside:
        (beside / "new").write_text("second")
        assert names(folder) == ["old"]
    assert names(tmp_path) == ["model"] and names(folder) == ["new"]


def test_a_folder_takes_the_place_of_a_link_and_leaves_what_it_led_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("foreign")
    (tmp_path / "model").symlink_to(tmp_path / "elsewhere")
    with atomic_folder(tmp_path / "model") as beside:
        (beside / "new").write_text("whole")
    assert not (tmp_path / "model").is_symlink() and names(tmp_path / "model") == ["new"]
    assert names(tmp_path / "elsewhere") == ["precious"]


def test_a_file_has_the_mode_that_the_user_gives_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "whole")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["b.txt", "a.txt", "n" * 255, "名" * 85])
def test_what_a_killed_writer_left_goes_with_the_next_write_in_that_folder(tmp_path, name):
    killed(lambda: half_written(tmp_path / "a.txt"))
    left = names(tmp_path)
    assert len(left) == 1 and left[0].startswith(".a.txt.")
    write_text(tmp_path / name, "whole")
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == "whole"


def test_what_a_killed_writer_left_in_a_folder_of_its_own_goes_too(tmp_path):
    def fill():
        folder, _ = new_locked_folder(tmp_path / "model")
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("half")

    killed(fill)
    assert len(names(tmp_path)) == 1
    with scratch_folder(tmp_path / "model") as folder:
        assert names(tmp_path) == [folder.name]
        os.replace(folder, tmp_path / "model")
    assert names(tmp_path) == ["model"]


def test_a_living_writer_and_foreign_files_are_left_alone(tmp_path):
    foreign = [
        ".a.txt.1.tmp",
        ".b.tmp",
        "c.trainer-ext-0123456789abcdef.tmp",
        ".d.trainer-ext-12.tmp",
    ]
    for name in foreign:
        (tmp_path / name).write_text("foreign")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("foreign")
    link = tmp_path / ".e.trainer-ext-0123456789abcdef.tmp"
    link.symlink_to(outside)
    with atomic_writer(tmp_path / "a.txt") as first:
        first.write("first")
        killed(lambda: write_text(tmp_path / "b.txt", "another process"))
        with atomic_writer(tmp_path / "a.txt") as second:
            second.write("second")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert names(tmp_path) == sorted([*foreign, "a.txt", "b.txt", "outside", link.name])
    assert names(outside) == ["precious"]


def test_a_folder_taken_for_dead_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    """The other process looks between mkdir and the lock."""
    import fcntl

    lock, calls = fcntl.flock, []

    def late(descriptor, operation):
        calls.append(operation)
        if len(calls) == 1:
            remove_abandoned(tmp_path)
        return lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt"] and len(calls) == 3


def test_a_file_system_without_locks_still_takes_files(tmp_path, monkeypatch):
    import fcntl

    def none(descriptor, operation):
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", none)
    killed(lambda: half_written(tmp_path / "a.txt"))
    write_text(tmp_path / "b.txt", "whole")
    assert len(names(tmp_path)) == 2 and "b.txt" in names(tmp_path)


def test_a_path_keeps_its_name_for_writers_that_go_by_it(tmp_path):
    with atomic_path(tmp_path / "a.npz") as beside:
        assert beside.name == "a.npz" and not (tmp_path / "a.npz").exists()
        beside.write_bytes(b"whole")
    assert names(tmp_path) == ["a.npz"]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through" and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    os.close(reader)


def test_json_stays_json():
    """NaN and infinity are no words of it."""
    value = {"a": float("nan"), "b": [1.5, float("-inf")], "é": None}
    assert json.loads(json_text(value), parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.5, None],
        "é": None,
    }
    assert "é" in json_text(value)
