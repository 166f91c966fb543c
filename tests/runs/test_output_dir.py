"""The output folder: whose it is, refused, cleared or resumed, and filled at the end."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.conftest import ROOT
from trainer_ext.arguments.recipe import RESOLVED_HEADER
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.cross_validation.folder import JOINED
from trainer_ext.errors import UserError
from trainer_ext.runs.output_dir import (
    FILES,
    MARK,
    check_not_foreign,
    install_model,
    is_over,
    locked,
    mark,
    take_output_dir,
)

BINARY = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
OURS = json.dumps({"pipeline": {"task": "single_label"}})


def arguments(folder, **kwargs) -> TrainingArguments:
    return TrainingArguments(output_dir=str(folder), report_to="none", **kwargs)


def make_checkpoint(folder, step: int, whole: bool = True, **state):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(OURS)
    save_file({"w": np.zeros(300, np.float32)}, path / "model.safetensors")
    for name in BINARY[1:]:
        torch.save({"w": torch.zeros(300)}, path / name)
    text = json.dumps({"global_step": step, "epoch": 1.0, **state})
    (path / "trainer_state.json").write_text(text if whole else text[:12])
    return path


def a_run(folder, *names: str):
    """A folder with our mark, and files that a run leaves."""
    mark(folder)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def names_in(folder) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_a_new_or_unrelated_folder_is_free(tmp_path):
    assert take_output_dir(arguments(tmp_path / "new")) is None
    assert not (tmp_path / "new").exists()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/figure1.png").write_text("mine")
    assert take_output_dir(arguments(tmp_path)) is None


@pytest.mark.parametrize("left", ["checkpoint-3", "model.safetensors", "metrics.json"])
def test_another_run_is_refused(tmp_path, left):
    mark(tmp_path)
    assert take_output_dir(arguments(tmp_path)) is None, "it has left nothing yet"
    make_checkpoint(tmp_path, 3) if left.startswith("checkpoint") else (tmp_path / left).write_text(
        "{}"
    )
    with pytest.raises(UserError, match="already holds another run"):
        take_output_dir(arguments(tmp_path))


def test_overwriting_removes_only_what_a_run_leaves(tmp_path):
    a_run(tmp_path, "metrics.json", "README.md", "plots/learning_curves.png")
    make_checkpoint(tmp_path, 3)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plots/mine.txt").write_text("mine")
    assert take_output_dir(arguments(tmp_path, overwrite_output_dir=True)) is None
    assert names_in(tmp_path) == ["notes.txt", "plots/mine.txt"]


@pytest.mark.parametrize(
    "flags", [{}, {"overwrite_output_dir": True}, {"resume_from_checkpoint": "true"}]
)
@pytest.mark.parametrize(
    "mine", [["README.md", "plots/mine.txt"], ["config.json"], ["plots/predictions.png"]]
)
def test_what_somebody_else_has_written_is_neither_removed_nor_replaced(tmp_path, mine, flags):
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("my own")
    with pytest.raises(
        UserError, match=f"holds {mine[0]}, which no run of this project has written"
    ) as caught:
        take_output_dir(arguments(tmp_path, **flags))
    assert "another run" not in str(caught.value)
    assert names_in(tmp_path) == sorted(mine)


def test_somebody_elses_checkpoints_are_not_touched(tmp_path):
    """Those of a plain Trainer, say."""
    (make_checkpoint(tmp_path, 3) / "config.json").write_text('{"model_type": "bert"}')
    for flags in ({"overwrite_output_dir": True}, {"resume_from_checkpoint": "true"}):
        with pytest.raises(
            UserError, match="holds checkpoint-3, which no run of this project has written"
        ):
            take_output_dir(arguments(tmp_path, **flags))


def test_a_run_of_a_version_without_marks_is_known(tmp_path):
    """By its config and recipe, or its checkpoints; a README.md by its head; an export is no run."""
    for name in ("metrics.json", "tokenizer.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "config.json").write_text(OURS)
    (tmp_path / "resolved_config.yaml").write_text(RESOLVED_HEADER + "seed: 1\n")
    (tmp_path / "README.md").write_text("---\nlibrary_name: trainer-ext\ntags: [x]\n---\n")
    (tmp_path / "model.onnx").write_text("x")
    with pytest.raises(UserError, match="which no run of this project has written"):
        take_output_dir(arguments(tmp_path, overwrite_output_dir=True))
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(UserError, match="already holds another run"):
        take_output_dir(arguments(tmp_path))
    take_output_dir(arguments(tmp_path, overwrite_output_dir=True))
    assert names_in(tmp_path) == ["notes.txt"]
    make_checkpoint(tmp_path, 3)
    take_output_dir(arguments(tmp_path, overwrite_output_dir=True))
    assert names_in(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("place", ["working", "above", "home", "checkout"])
def test_what_is_more_than_an_output_folder_is_never_cleared(tmp_path, monkeypatch, place):
    folder = a_run(tmp_path / "run", "metrics.json", "README.md")
    before = names_in(folder)
    (folder / "inside").mkdir()
    if place == "checkout":
        (folder / ".git").mkdir()
    elif place == "home":
        monkeypatch.setenv("HOME", str(folder))
    else:
        monkeypatch.chdir(folder if place == "working" else folder / "inside")
    relative = {"working": ".", "above": ".."}.get(place, folder)
    with pytest.raises(UserError, match="never cleared"):
        take_output_dir(arguments(relative, overwrite_output_dir=True))
    assert names_in(folder) == before


@pytest.mark.parametrize(
    "name",
    ["../mine.txt", "{above}/mine.txt", "a/../../mine.txt", "link/mine.txt", "", ".", 7, None],
)
def test_a_list_that_names_what_lies_elsewhere_clears_nothing(tmp_path, name):
    """A folder may come from somebody else; also by a link inside it."""
    (tmp_path / "mine.txt").write_text("mine")
    folder = a_run(tmp_path / "run", "config.json", "metrics.json")
    (folder / "link").symlink_to(tmp_path)
    name = name.format(above=tmp_path) if isinstance(name, str) else name
    (folder / MARK).write_text(json.dumps({"files": ["config.json", name]}))
    with pytest.raises(UserError, match=r"\.trainer_ext\.json.* inside the folder"):
        take_output_dir(arguments(folder, overwrite_output_dir=True))
    with pytest.raises(UserError, match="inside the folder"):
        take_output_dir(arguments(folder))
    assert (tmp_path / "mine.txt").read_text() == "mine" and (folder / "config.json").is_file()


@pytest.mark.parametrize(
    "content",
    ["", "[", "7", "[]", "{}", '{"files": 7}', '{"files": {"a": 1}}', '{"files": "abc"}', "\udcff"],
)
def test_a_damaged_list_clears_nothing(tmp_path, content):
    folder = a_run(tmp_path / "run", "config.json", "a")
    (folder / MARK).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"\.trainer_ext\.json.*cannot be read"):
        take_output_dir(arguments(folder, overwrite_output_dir=True))
    assert (folder / "config.json").is_file() and (folder / "a").is_file()


def test_the_folders_of_folds_are_looked_at_in_the_same_way(tmp_path):
    (tmp_path / "README.md").write_text("my own")
    with pytest.raises(UserError, match="holds README.md, which no run"):
        check_not_foreign(tmp_path, JOINED)


def test_a_folder_that_cannot_be_written_is_noticed_first(tmp_path, monkeypatch):
    """The tests may run as root, whom no mode stops: a file stands in the way."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        UserError, match="^output_dir .*file/run is not a folder that can be written to"
    ):
        take_output_dir(arguments(tmp_path / "file" / "run"))


def test_resume_takes_the_newest_whole_checkpoint_and_drops_a_torn_one(tmp_path):
    make_checkpoint(tmp_path, 9)
    make_checkpoint(tmp_path, 10)
    make_checkpoint(tmp_path, 20, whole=False)
    assert take_output_dir(arguments(tmp_path, resume_from_checkpoint="true")) == str(
        tmp_path / "checkpoint-10"
    )
    assert not (tmp_path / "checkpoint-20").exists()


@pytest.mark.parametrize("size", ["empty", "cut", "missing", "changed"])
@pytest.mark.parametrize("name", BINARY)
def test_a_damaged_checkpoint_is_left_for_the_one_before(tmp_path, capsys, name, size):
    """A missing scheduler.pt would begin the optimizer anew, in silence."""
    if (name, size) in (("optimizer.pt", "missing"), ("model.safetensors", "changed")):
        pytest.skip("save_only_model leaves such; weights have no checksum")
    make_checkpoint(tmp_path, 9)
    path = make_checkpoint(tmp_path, 10) / name
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        {"empty": b"", "cut": content[:half]}.get(size, content[:half] + b"?" + content[half + 1 :])
    )
    if size == "missing":
        path.unlink()
    with pytest.raises(UserError, match=rf"checkpoint-10 is damaged: .*{name.split('.')[0]}"):
        take_output_dir(
            arguments(tmp_path / "other", resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
        )
    assert take_output_dir(arguments(tmp_path, resume_from_checkpoint="true")) == str(
        tmp_path / "checkpoint-9"
    )
    assert name in capsys.readouterr().err and not (tmp_path / "checkpoint-10").exists()


def test_only_damaged_checkpoints_are_not_trained_over(tmp_path):
    (make_checkpoint(tmp_path, 10) / "scheduler.pt").write_bytes(b"x")
    with pytest.raises(
        UserError, match=r"checkpoint-10 is damaged \(scheduler.pt is cut off or damaged\)"
    ):
        take_output_dir(arguments(tmp_path, resume_from_checkpoint="true"))
    assert (tmp_path / "checkpoint-10").is_dir()


def test_resume_without_a_checkpoint_starts_at_the_beginning(tmp_path):
    assert take_output_dir(arguments(tmp_path, resume_from_checkpoint="true")) is None
    a_run(tmp_path, "config.json", "model.safetensors")  # killed while it finished
    assert take_output_dir(arguments(tmp_path, resume_from_checkpoint="true")) is None


def test_a_finished_run_without_checkpoints_is_not_trained_over(tmp_path):
    before = names_in(a_run(tmp_path, "config.json", "model.safetensors", "metrics.json"))
    with pytest.raises(UserError, match="holds a finished run and no checkpoint to go on from"):
        take_output_dir(arguments(tmp_path, resume_from_checkpoint="true"))
    assert names_in(tmp_path) == before


def test_resume_from_a_named_checkpoint(tmp_path):
    whole, torn = make_checkpoint(tmp_path, 5), make_checkpoint(tmp_path, 6, whole=False)
    assert take_output_dir(arguments(tmp_path, resume_from_checkpoint=str(whole))) == str(whole)
    with pytest.raises(UserError, match="not a whole checkpoint"):
        take_output_dir(arguments(tmp_path, resume_from_checkpoint=str(torn)))


def test_a_named_checkpoint_does_not_let_two_runs_mix(tmp_path):
    named = {"resume_from_checkpoint": str(make_checkpoint(tmp_path / "one", 5))}
    a_run(tmp_path / "two", "metrics.json")
    with pytest.raises(UserError, match="two already holds another run"):
        take_output_dir(arguments(tmp_path / "two", **named))
    assert take_output_dir(arguments(tmp_path / "two", overwrite_output_dir=True, **named))
    assert take_output_dir(arguments(tmp_path / "one", overwrite_output_dir=True, **named))
    assert (tmp_path / "one/checkpoint-5").is_dir() and not (tmp_path / "two/metrics.json").exists()


def test_a_checkpoint_without_its_optimizer_is_kept_and_not_resumed(tmp_path):
    """`save_only_model true` writes such; DeepSpeed keeps its optimizer in files of its own."""
    checkpoint = make_checkpoint(tmp_path, 5)
    (checkpoint / "optimizer.pt").unlink()
    for resume in ("true", str(checkpoint)):
        with pytest.raises(UserError, match="checkpoint-5 holds no optimizer"):
            take_output_dir(arguments(tmp_path, resume_from_checkpoint=resume))
    assert checkpoint.is_dir()
    args = arguments(tmp_path, resume_from_checkpoint="true")
    args.deepspeed = "zero.json"
    assert take_output_dir(args) == str(checkpoint)


def test_a_run_is_over_by_its_steps_or_its_patience(tmp_path):
    early = {"EarlyStoppingCallback": {"attributes": {"early_stopping_patience_counter": 2}}}
    checkpoint = str(make_checkpoint(tmp_path, 5, stateful_callbacks=early))
    assert is_over(checkpoint, 2, 9)
    assert not is_over(checkpoint, 3, 9), "a larger patience waits longer"
    assert not is_over(checkpoint, 0, 9)
    assert is_over(checkpoint, 3, 5) and is_over(checkpoint, 0, 4)


def test_a_model_is_installed_unusable_first_and_whole_last(tmp_path, monkeypatch):
    """Whatever the step before which the process is killed: the old model whole, the new one, or none."""
    new, old, answering = "new", "old", ("config.json", "model.safetensors", "tokenizer.json")
    for cut in range(20):
        folder = tmp_path / str(cut)
        a_run(folder, "metrics.json", *answering)
        (folder / "stage").mkdir()
        for name in (*answering, "vocab.txt"):
            (folder / name).write_text(old)
            (folder / "stage" / name).write_text(new)
        if not killed_before(cut, folder):
            break
        if (folder / "config.json").exists():
            assert len({(folder / name).read_text() for name in answering}) == 1
    assert (
        6 < cut < 19 and not (folder / "stage").exists() and not (folder / "metrics.json").exists()
    )
    assert {(folder / name).read_text() for name in answering} == {new}
    assert set(FILES) <= set(json.loads((folder / MARK).read_text())["files"])


def killed_before(count: int, folder) -> bool:
    """Run `install_model`, stopped before its change number `count` in the folder; False when it came to its end."""

    class Killed(BaseException):
        pass

    seen = [0]

    def watch(event, args):
        if (
            watching
            and event in ("os.rename", "os.remove", "os.rmdir")
            and str(folder) in str(args[0])
        ):
            if seen[0] == count:
                raise Killed
            seen[0] += 1

    watching = [True]
    sys.addaudithook(watch)
    try:
        install_model(folder / "stage", folder)
    except Killed:
        return True
    finally:
        watching.clear()
    return False


def test_two_trainings_do_not_share_a_folder(tmp_path):
    """What is refused leaves nothing; the lock goes with its process."""
    code = (
        "import sys; from pathlib import Path; from trainer_ext.locks import held\n"
        "with held(Path(sys.argv[1]), 'x'): print('held', flush=True); sys.stdin.read()"
    )
    with locked(tmp_path / "a/run"):
        pass
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "run"):
        (tmp_path / "run/notes.txt").write_text("x")
    command = [sys.executable, "-c", code, str(tmp_path / "run/.lock")]
    other = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    with (
        pytest.raises(UserError, match="run is being trained by another process"),
        locked(tmp_path / "run"),
    ):
        pass
    other.kill()
    other.wait()
    with locked(tmp_path / "run"):
        pass
