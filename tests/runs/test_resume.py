"""A resumed run goes on with the same rows and the same training; what it may change are length and batches."""

import json
import shutil

import pytest

from tests.conftest import TINY_ENCODER
from trainer_ext import fit
from trainer_ext.arguments.parser import parse_values
from trainer_ext.errors import UserError
from trainer_ext.runs.resume import check_flags, check_rows, kept_flags, training_flags

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


def times_of(folder):
    """When each file was written; the lock is opened by every run that asks."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def test_other_training_rows_are_refused_though_the_vocabulary_has_the_same_size(
    stopped, topic_files, tmp_path
):
    rows = topic_files["train"].read_text().splitlines()
    (tmp_path / "other.txt").write_text("\n".join(rows[:-1]) + "\n")
    before = times_of(stopped)
    with pytest.raises(
        UserError, match="checkpoint-2 was trained on other rows than these. Begin anew with --over"
    ):
        fit(
            FLAGS,
            train_file=tmp_path / "other.txt",
            output_dir=stopped,
            resume_from_checkpoint=True,
            max_steps=3,
        )
    assert times_of(stopped) == before


def test_another_training_is_refused_naming_what_differs(stopped, topic_files):
    changed = {"learning_rate": 1e-3, "rdrop_alpha": 1.0, "max_length": 16}
    with pytest.raises(UserError) as caught:
        fit(
            FLAGS,
            train_file=topic_files["train"],
            output_dir=stopped,
            resume_from_checkpoint=True,
            **changed,
        )
    for words in (
        "learning_rate was 0.005, now it is 0.001",
        "rdrop_alpha was 0.0, now it is 1.0",
        "max_length was 32",
    ):
        assert words in str(caught.value)


def test_a_longer_run_in_smaller_batches_goes_on(stopped, topic_files, tmp_path):
    longer = {"max_steps": 3, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    folder = shutil.copytree(stopped, tmp_path / "longer")
    run = fit(
        FLAGS,
        train_file=topic_files["train"],
        output_dir=folder,
        resume_from_checkpoint=True,
        **longer,
    )
    assert run.metrics["global_step"] == 3


def test_steps_of_another_length_are_refused_naming_flags_that_fit(stopped, topic_files):
    """The schedule, and the place in the rows, are counted in steps."""
    flags = {
        "train_file": topic_files["train"],
        "output_dir": stopped,
        "resume_from_checkpoint": True,
    }
    with pytest.raises(
        UserError, match=r"steps of 16 rows \(.*size 16 x .*steps 1\), now they are of 8 rows"
    ) as caught:
        fit(FLAGS, **flags, per_device_train_batch_size=8)
    assert "with --gradient_accumulation_steps 2 they are as long as before" in str(caught.value)
    with pytest.raises(UserError, match="now they are of 15 rows") as caught:
        fit(FLAGS, **flags, per_device_train_batch_size=5, gradient_accumulation_steps=3)
    assert "as long as before" not in str(caught.value)


def checkpoint_of(folder, flags, **state):
    """A checkpoint that keeps these flags, and this state."""
    (folder / "training_flags.json").write_text(json.dumps(kept_flags(parse_values({}, flags))))
    (folder / "config.json").write_text(
        json.dumps({"pipeline": {"train_data_sha256": "a", "validation_data_sha256": "b"}})
    )
    (folder / "trainer_state.json").write_text(json.dumps(state))
    return str(folder)


@pytest.fixture
def chosen(tmp_path):
    """Flags under which the best model is looked for."""
    (tmp_path / "x.csv").write_text("text,label\n")
    flags = {
        "train_file": tmp_path / "x.csv",
        "validation_file": tmp_path / "x.csv",
        "output_dir": "y",
    }
    flags |= {
        "model_name_or_path": "z",
        "report_to": "none",
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
    }
    return flags | {"load_best_model_at_end": True, "metric_for_best_model": "f1_macro"}


def test_numbers_of_another_metric_are_not_compared(chosen, tmp_path):
    """Nor where more was worse; a run that looked for no best model finds one from here on."""
    by_loss = parse_values({}, chosen | {"metric_for_best_model": "loss"})
    checkpoint = checkpoint_of(tmp_path, chosen, best_metric=0.5, global_step=9)
    for args in (by_loss, parse_values({}, chosen | {"greater_is_better": False})):
        with pytest.raises(
            UserError,
            match=r"chosen by metric_for_best_model f1_macro \(greater_is_better True\), now",
        ):
            check_flags(checkpoint, args)
    check_flags(checkpoint, parse_values({}, chosen | {"metric_for_best_model": "eval_f1_macro"}))
    check_flags(
        checkpoint,
        parse_values(
            {}, chosen | {"metric_for_best_model": "loss", "load_best_model_at_end": False}
        ),
    )
    check_flags(checkpoint_of(tmp_path, chosen, global_step=9), by_loss)


def test_a_checkpoint_that_keeps_no_metric_is_judged_by_its_history(chosen, tmp_path, capsys):
    """Of a version that did not write it down, or of another program."""
    history = [{"step": 9, "eval_f1_macro": 0.5, "eval_loss": 0.7}]
    checkpoint = checkpoint_of(
        tmp_path, chosen, best_metric=0.7, global_step=9, log_history=history
    )
    (tmp_path / "training_flags.json").unlink()
    check_flags(checkpoint, parse_values({}, chosen | {"metric_for_best_model": "loss"}))
    with pytest.raises(UserError, match="was chosen by metric_for_best_model another metric"):
        check_flags(checkpoint, parse_values({}, chosen))


def test_the_best_model_must_lie_beside_the_checkpoint(chosen, tmp_path):
    checkpoint = checkpoint_of(tmp_path, chosen, best_metric=0.5, best_global_step=4, global_step=9)
    with pytest.raises(
        UserError,
        match="that of step 4, which must lie beside it as .*checkpoint-4, but it is not there",
    ):
        check_flags(checkpoint, parse_values({}, chosen))


def test_other_validation_rows_are_refused_where_a_best_model_was_chosen_on_them(chosen, tmp_path):
    checkpoint = checkpoint_of(tmp_path, chosen, best_metric=0.5)
    with pytest.raises(
        UserError, match="was chosen on other validation rows than these. Begin anew"
    ):
        check_rows(checkpoint, "a", "c", best=True)
    check_rows(checkpoint, "a", "b", best=True)
    check_rows(checkpoint, "a", "c", best=False)
    check_rows(checkpoint_of(tmp_path, chosen), "a", "c", best=True)


def test_of_a_plain_trainers_checkpoint_no_rows_are_known(tmp_path):
    for config in ('{"model_type": "bert"}', '{"pipeline": {}}', "[]"):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(
            UserError, match="is not a checkpoint of this project: .* does not say on which rows"
        ) as caught:
            check_rows(str(tmp_path), "a", None, best=False)
        assert "other rows" not in str(caught.value)


def test_flags_are_compared_by_value_not_by_spelling(tmp_path):
    """As JSON reads them back; a default that is given is no change."""
    (tmp_path / "x.csv").write_text("text,label\n")
    flags = {
        "train_file": tmp_path / "x.csv",
        "output_dir": "y",
        "report_to": "none",
        "clean": ["html", "nfkc"],
    }
    flags |= {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}}
    flags |= {"parameter_groups": {"embeddings": 2e-5}, "model_name_or_path": "z"}
    (tmp_path / "training_flags.json").write_text(
        json.dumps(training_flags(parse_values({}, flags)))
    )
    same = parse_values({}, flags | {"weight_decay": 0, "rdrop_alpha": 0, "learning_rate": "5e-05"})
    check_flags(str(tmp_path), same)
    with pytest.raises(
        UserError, match="lr_scheduler_kwargs was {'min_lr': 1e-06}, now it is {'min_lr': 1e-05}"
    ):
        check_flags(
            str(tmp_path), parse_values({}, flags | {"lr_scheduler_kwargs": {"min_lr": 1e-5}})
        )


def test_a_hub_that_does_not_answer_is_said_before_anything_is_read(topic_files, tmp_path):
    """The tests run with HF_HUB_OFFLINE."""
    flags = {
        **FLAGS,
        "train_file": topic_files["train"],
        "output_dir": tmp_path / "pushed",
        "push_to_hub": True,
    }
    with pytest.raises(UserError, match="^push_to_hub: .*offline mode"):
        fit(flags, hub_token="t")
    assert not (tmp_path / "pushed").exists()
