"""The output folder: refused, cleared or resumed."""

import json

import pytest

from trainer_ext.errors import UserError
from trainer_ext.training.output_dir import claim_output_dir, stopped_early
from trainer_ext.training_arguments import TrainingArguments


def arguments(folder, **kwargs) -> TrainingArguments:
    return TrainingArguments(output_dir=str(folder), report_to="none", **kwargs)


def make_checkpoint(folder, step: int, whole: bool = True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt"):
        (path / name).write_bytes(b"x")
    (path / "trainer_state.json").write_text('{"global_step": 1}' if whole else '{"global_st')
    return path


def test_a_new_or_unrelated_folder_is_free(tmp_path):
    assert claim_output_dir(arguments(tmp_path / "new")) is None
    (tmp_path / "notes.txt").write_text("mine")
    assert claim_output_dir(arguments(tmp_path)) is None


@pytest.mark.parametrize("left", ["checkpoint-3", "model.safetensors", "metrics.json"])
def test_another_run_is_refused(tmp_path, left):
    make_checkpoint(tmp_path, 3) if left.startswith("checkpoint") else (tmp_path / left).write_text("{}")
    with pytest.raises(UserError, match="already holds another run"):
        claim_output_dir(arguments(tmp_path))


def test_overwriting_removes_only_what_a_run_leaves(tmp_path):
    make_checkpoint(tmp_path, 3)
    for name in ("metrics.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    assert claim_output_dir(arguments(tmp_path, overwrite_output_dir=True)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_resume_takes_the_newest_whole_checkpoint_and_drops_a_torn_one(tmp_path):
    make_checkpoint(tmp_path, 9)
    make_checkpoint(tmp_path, 10)
    make_checkpoint(tmp_path, 20, whole=False)
    assert claim_output_dir(arguments(tmp_path, resume_from_checkpoint="true")) == str(tmp_path / "checkpoint-10")
    assert not (tmp_path / "checkpoint-20").exists()


def test_resume_without_a_checkpoint_starts_at_the_beginning(tmp_path):
    assert claim_output_dir(arguments(tmp_path, resume_from_checkpoint="true")) is None


def test_resume_from_a_named_checkpoint(tmp_path):
    whole, torn = make_checkpoint(tmp_path, 5), make_checkpoint(tmp_path, 6, whole=False)
    assert claim_output_dir(arguments(tmp_path, resume_from_checkpoint=str(whole))) == str(whole)
    with pytest.raises(UserError, match="not a whole checkpoint"):
        claim_output_dir(arguments(tmp_path, resume_from_checkpoint=str(torn)))


def test_a_checkpoint_without_its_optimizer_is_kept_and_not_resumed(tmp_path):
    """`save_only_model true` writes such; DeepSpeed keeps its optimizer in files of its own."""
    checkpoint = make_checkpoint(tmp_path, 5)
    (checkpoint / "optimizer.pt").unlink()
    for resume in ("true", str(checkpoint)):
        with pytest.raises(UserError, match="checkpoint-5 holds no optimizer"):
            claim_output_dir(arguments(tmp_path, resume_from_checkpoint=resume))
    assert checkpoint.is_dir()
    args = arguments(tmp_path, resume_from_checkpoint="true")
    args.deepspeed = "zero.json"
    assert claim_output_dir(args) == str(checkpoint)


def test_stopped_early(tmp_path):
    checkpoint = make_checkpoint(tmp_path, 5)
    state = {"stateful_callbacks": {"EarlyStoppingCallback": {"attributes": {"early_stopping_patience_counter": 2}}}}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    assert stopped_early(str(checkpoint), 2)
    assert not stopped_early(str(checkpoint), 3)
    assert not stopped_early(str(checkpoint), 0)
