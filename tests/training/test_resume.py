"""A resumed run goes on with the same rows and the same training; what it may change are length and batches."""

import json
import shutil

import pytest

from tests.conftest import TINY_ENCODER
from trainer_ext import fit
from trainer_ext.errors import UserError
from trainer_ext.parsing import parse_values
from trainer_ext.training.resume import check_flags, training_flags

FLAGS = {
    "from_scratch": "tiny", "config_overrides": TINY_ENCODER, "vocab_size": 60, "max_length": 32, "report_to": "none",
    "learning_rate": 5e-3, "max_steps": 2, "save_steps": 2, "per_device_train_batch_size": 16, "disable_tqdm": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def stopped(topic_files, tmp_path_factory):
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("resume") / "stopped"
    fit(FLAGS, train_file=topic_files["train"], output_dir=folder)
    return folder


def test_other_training_rows_are_refused_though_the_vocabulary_has_the_same_size(stopped, topic_files, tmp_path):
    rows = topic_files["train"].read_text().splitlines()
    (tmp_path / "other.txt").write_text("\n".join(rows[:-1]) + "\n")
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    with pytest.raises(UserError, match="checkpoint-2 was trained on other rows than these. Begin anew with --over"):
        fit(FLAGS, train_file=tmp_path / "other.txt", output_dir=stopped, resume_from_checkpoint=True, max_steps=3)
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before


def test_another_training_is_refused_naming_what_differs(stopped, topic_files):
    changed = {"learning_rate": 1e-3, "rdrop_alpha": 1.0, "max_length": 16}
    with pytest.raises(UserError) as caught:
        fit(FLAGS, train_file=topic_files["train"], output_dir=stopped, resume_from_checkpoint=True, **changed)
    for words in (
        "learning_rate was 0.005, now it is 0.001",
        "rdrop_alpha was 0.0, now it is 1.0",
        "max_length was 32",
    ):
        assert words in str(caught.value)


def test_a_longer_run_in_smaller_batches_goes_on(stopped, topic_files, tmp_path):
    longer = {"max_steps": 3, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    folder = shutil.copytree(stopped, tmp_path / "longer")
    run = fit(FLAGS, train_file=topic_files["train"], output_dir=folder, resume_from_checkpoint=True, **longer)
    assert run.metrics["global_step"] == 3


def test_flags_are_compared_by_value_not_by_spelling(tmp_path):
    """As JSON reads them back; a default that is given is no change."""
    (tmp_path / "x.csv").write_text("text,label\n")
    flags = {"train_file": tmp_path / "x.csv", "output_dir": "y", "report_to": "none", "clean": ["html", "nfkc"]}
    flags |= {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}}
    flags |= {"parameter_groups": {"embeddings": 2e-5}, "model_name_or_path": "z"}
    (tmp_path / "training_flags.json").write_text(json.dumps(training_flags(parse_values({}, flags))))
    same = parse_values({}, flags | {"weight_decay": 0, "rdrop_alpha": 0, "learning_rate": "5e-05"})
    check_flags(str(tmp_path), same)
    with pytest.raises(UserError, match="lr_scheduler_kwargs was {'min_lr': 1e-06}, now it is {'min_lr': 1e-05}"):
        check_flags(str(tmp_path), parse_values({}, flags | {"lr_scheduler_kwargs": {"min_lr": 1e-5}}))


def test_a_hub_that_does_not_answer_is_said_before_anything_is_read(topic_files, tmp_path):
    """The tests run with HF_HUB_OFFLINE."""
    flags = {**FLAGS, "train_file": topic_files["train"], "output_dir": tmp_path / "pushed", "push_to_hub": True}
    with pytest.raises(UserError, match="^push_to_hub: .*offline mode"):
        fit(flags, hub_token="t")
    assert not (tmp_path / "pushed").exists()
