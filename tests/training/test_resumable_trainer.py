"""The best model is the best that was evaluated, and a resumed run obeys the flags it was given."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback

from tests.objectives.test_objective import OBJECTIVES
from tests.training.test_trainer import largest_difference, make_trainer
from tests.versions import until_4
from trainer_ext.errors import UserError
from trainer_ext.runs.output_dir import is_over
from trainer_ext.runs.resume import check_position

OFTEN = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 3,
    "max_steps": 6,
}
BEST = {
    "load_best_model_at_end": True,
    "metric_for_best_model": "f1_macro",
    "greater_is_better": True,
}
EPOCHS = {
    "per_device_train_batch_size": 12,
    "max_steps": -1,
    "num_train_epochs": 6,
    "eval_strategy": "epoch",
}
SCORES = [0.1, 0.4, 0.2, 0.5, 0.3, 0.3]  # the best is the fourth


def scored(folder, scores=SCORES, **options):
    """A trainer whose n-th evaluation finds the n-th score."""
    trainer = make_trainer(folder, OBJECTIVES["cross_entropy"], **options)
    left = iter(scores)

    def evaluate(**kwargs):
        metrics = {"eval_f1_macro": next(left), "eval_loss": 0.7}
        trainer.log(dict(metrics))
        trainer.control = trainer.callback_handler.on_evaluate(
            trainer.args, trainer.state, trainer.control, metrics
        )
        return metrics

    trainer.evaluate = evaluate
    if options.get("early_stopping_patience"):
        trainer.add_callback(EarlyStoppingCallback(options["early_stopping_patience"]))
        trainer.args.restore_callback_states_from_checkpoint = True
    return trainer


def holds(trainer, folder, step: int) -> bool:
    """Whether the model has the weights of a checkpoint."""
    saved = load_file(folder / f"checkpoint-{step}" / "model.safetensors")
    return all(
        torch.equal(value, saved[name])
        for name, value in trainer.model.state_dict().items()
        if name in saved
    )


def state_in(checkpoint) -> dict:
    return json.loads((checkpoint / "trainer_state.json").read_text())


@pytest.mark.parametrize("options", [
    OFTEN,
    OFTEN | {"save_steps": 500},
    OFTEN | {"save_strategy": "best"},
    OFTEN | {"save_steps": 1, "save_total_limit": 1},
    OFTEN | {"save_strategy": "best", "save_total_limit": 1},
    OFTEN | {"ema_decay": 0.5},
    OFTEN | {"ema_decay": 0.5, "save_strategy": "best"},
], ids=str)  # fmt: skip
def test_the_model_at_the_end_is_the_best_that_was_evaluated(tmp_path, options):
    """Saved between the saving steps, with the strategy `best`, with no flag that saves it, and as an average."""
    trainer = scored(tmp_path, **options | BEST)
    trainer.train()
    assert trainer.holds_best and trainer.step_of_model == 4
    assert holds(trainer, tmp_path, 4)


def test_by_epochs_and_with_patience(tmp_path):
    """With `save_strategy best` Trainer forgets which step the best was."""
    for patience, last in ((0, 12), (1, 6)):
        folder = tmp_path / str(patience)
        trainer = scored(
            folder, **EPOCHS, **BEST, save_strategy="best", early_stopping_patience=patience
        )
        trainer.train()
        best = 4 if patience else 8  # two steps an epoch; the third epoch is worse than the second
        assert (trainer.state.global_step, trainer.step_of_model) == (last, best) and holds(
            trainer, folder, best
        )


@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_without_load_best_model_at_end_the_last_weights_are_called_the_last(tmp_path, strategy):
    options = (
        OFTEN | BEST | {"load_best_model_at_end": False, "save_steps": 1, "save_strategy": strategy}
    )
    trainer = scored(tmp_path, **options)
    trainer.train()
    assert not trainer.holds_best and trainer.step_of_model == 6 and not holds(trainer, tmp_path, 4)


@until_4
def test_where_nothing_was_evaluated_nothing_is_the_best(tmp_path):
    trainer = scored(tmp_path, **OFTEN | BEST | {"eval_steps": 9, "save_steps": 9})
    trainer.train()
    assert not trainer.holds_best and trainer.step_of_model == 6


def test_the_best_lies_beside_the_checkpoint_resumed_not_where_it_was(tmp_path):
    """Moved, with another run at the old path; gone, it is one line."""
    options = OFTEN | BEST | {"save_steps": 5, "max_steps": 6}
    whole = scored(tmp_path / "old", **options)
    whole.train()
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    other = load_file(tmp_path / "old/checkpoint-1/model.safetensors")
    shutil.copy(
        tmp_path / "old/checkpoint-1/model.safetensors",
        tmp_path / "old/checkpoint-4/model.safetensors",
    )
    resumed = scored(tmp_path / "new", SCORES[5:], **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "new/checkpoint-5"))
    assert largest_difference(whole.model, resumed.model) == 0 and resumed.step_of_model == 4
    assert state_in(tmp_path / "new/checkpoint-6")["best_model_checkpoint"] == str(
        tmp_path / "new/checkpoint-4"
    )
    assert not all(
        torch.equal(value, other[name]) for name, value in resumed.model.state_dict().items()
    )
    (tmp_path / "new/checkpoint-4/model.safetensors").write_bytes(b"")
    for gone in (False, True):
        if gone:
            shutil.rmtree(tmp_path / "new/checkpoint-4")
        with pytest.raises(
            UserError, match="is that of step 4, which must lie beside it as .*new/checkpoint-4"
        ):
            scored(tmp_path / "new", **options).train(
                resume_from_checkpoint=str(tmp_path / "new/checkpoint-5")
            )


def test_smaller_batches_that_make_the_same_steps_go_on_to_the_same_end(tmp_path):
    """Trainer took the batch size from the checkpoint: 3 x 4 ended at once, and 12 x 1 were 24 again."""
    sizes = {
        "per_device_train_batch_size": 12,
        "save_strategy": "steps",
        "save_steps": 2,
        "max_steps": 8,
    }
    whole = make_trainer(tmp_path / "a", OBJECTIVES["cross_entropy"], **sizes)
    whole.train()
    seen = []
    sizes |= {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 4}
    resumed = make_trainer(tmp_path / "b", OBJECTIVES["cross_entropy"], **sizes)
    step = resumed.training_step
    resumed.training_step = lambda model, inputs, n=None: (
        seen.append(len(inputs["labels"])) or step(model, inputs, n)
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "a/checkpoint-4"))
    assert set(seen) == {3} and len(seen) == 16
    assert (
        resumed.state.global_step == 8
        and state_in(tmp_path / "b/checkpoint-8")["train_batch_size"] == 3
    )
    assert largest_difference(whole.model, resumed.model) < 1e-5


def test_a_step_at_another_place_in_the_rows_is_refused(tmp_path):
    (tmp_path / "trainer_state.json").write_text('{"global_step": 4, "epoch": 2.0}')
    trainer = make_trainer(tmp_path, OBJECTIVES["cross_entropy"], per_device_train_batch_size=6)
    assert trainer.steps() == (4, 3)
    with pytest.raises(
        UserError, match="is at step 4 and epoch 2, but with .*size 6 .* an epoch has 4 steps"
    ):
        trainer.train(resume_from_checkpoint=str(tmp_path))
    check_position(tmp_path, trainer.args, 2)


def test_intervals_and_patience_are_those_asked_for(tmp_path):
    """Not those of the checkpoint: saved every step, evaluated every second, and a patience that waits longer."""
    first = (
        OFTEN
        | BEST
        | {"save_steps": 3, "max_steps": 3, "logging_steps": 3, "early_stopping_patience": 2}
    )
    trainer = scored(tmp_path, [0.5, 0.4, 0.3], **first)
    trainer.train()
    assert is_over(str(tmp_path / "checkpoint-3"), 2, 9) and not is_over(
        str(tmp_path / "checkpoint-3"), 4, 9
    )
    now = first | {
        "save_steps": 4,
        "eval_steps": 2,
        "logging_steps": 1,
        "max_steps": 20,
        "early_stopping_patience": 4,
    }
    trainer = scored(tmp_path, [0.2] * 9, **now)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert trainer.state.global_step == 6, "evaluated at 4 and 6, after which four were no better"
    logged = [entry["step"] for entry in trainer.state.log_history if "loss" in entry]
    assert (
        logged == [3, 4, 5, 6]
        and (tmp_path / "checkpoint-4").is_dir()
        and not (tmp_path / "checkpoint-6").exists()
    )
    assert trainer.step_of_model == 1


def test_a_patience_that_the_checkpoint_does_not_know_begins_to_count(tmp_path):
    """And one that is given up no longer counts."""
    first = OFTEN | BEST | {"save_steps": 1, "max_steps": 2}
    scored(tmp_path, [0.5, 0.4], **first).train()
    now = first | {"max_steps": 9, "early_stopping_patience": 2}
    trainer = scored(tmp_path, [0.3] * 7, **now)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert trainer.state.global_step == 4
    assert "EarlyStoppingCallback" in state_in(tmp_path / "checkpoint-4")["stateful_callbacks"]
    trainer = scored(tmp_path, [0.3] * 7, **first | {"max_steps": 6})
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert trainer.state.global_step == 6


def test_a_checkpoint_that_is_written_again_counts_as_torn_until_its_end(tmp_path, monkeypatch):
    """The flags are in it before what makes it whole."""
    trainer = make_trainer(
        tmp_path, OBJECTIVES["cross_entropy"], save_strategy="steps", save_steps=3
    )
    trainer.flags = {"seed": 3}
    trainer.train()
    folder = tmp_path / "checkpoint-3"
    assert json.loads((folder / "training_flags.json").read_text()) == {"seed": 3}

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_save_rng_state", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer._save_checkpoint(trainer.model, None)
    assert (folder / "training_flags.json").is_file() and not (
        folder / "trainer_state.json"
    ).exists()


def test_weights_can_be_read_by_whom_the_config_can(tmp_path):
    """safetensors writes files for their owner alone, whatever the umask."""
    make_trainer(
        tmp_path, OBJECTIVES["cross_entropy"], save_strategy="steps", ema_decay=0.5
    ).train()
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "checkpoint-3").iterdir()}
    for name in ("model.safetensors", "training_weights.safetensors"):
        assert modes[name] == modes["config.json"], name
