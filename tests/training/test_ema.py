"""The average of the weights: closed form, what is evaluated and saved, and a resumed run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerControl, TrainerState

from tests.conftest import run_ok, run_script
from tests.objectives.test_objective import OBJECTIVES
from tests.training.test_trainer import largest_difference, make_arguments, make_model, make_trainer
from trainer_ext.errors import UserError
from trainer_ext.training.ema import TRAINING_WEIGHTS, EmaCallback, decay_after

OPTIONS = {"per_device_train_batch_size": 8, "max_steps": 6, "learning_rate": 0.1, "ema_decay": 0.3}
WARM = TrainerState(global_step=1000)  # far behind the warm-up of any decay used here
SAVING = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}


def test_closed_form(tmp_path):
    """a_n = d^n w_0 + (1 - d) sum_k d^(n - k) w_k; the training weights come back after each look."""
    model, ema = nn.Linear(1, 1, bias=False), EmaCallback(0.9)
    arguments, state = make_arguments(tmp_path), WARM
    weights = [2.0, -1.0, 5.0, 3.0]
    model.weight.data.fill_(weights[0])
    ema.on_train_begin(arguments, state, TrainerControl(), model=model)
    for n, value in enumerate(weights[1:], start=1):
        ema.on_step_begin(arguments, state, TrainerControl(), model=model)
        assert model.weight.item() == pytest.approx(weights[n - 1])
        model.weight.data.fill_(value)
        ema.on_step_end(arguments, state, TrainerControl(should_evaluate=n == 2), model=model)
        average = 0.9**n * weights[0] + 0.1 * sum(
            0.9 ** (n - k) * weights[k] for k in range(1, n + 1)
        )
        shown = model.weight if n == 2 else ema.other["weight"]
        assert shown.item() == pytest.approx(average)
    ema.on_train_end(arguments, state, TrainerControl(), model=model)
    assert model.weight.item() == pytest.approx(average)


def test_the_decay_warms_up():
    """min(decay, (1 + t) / (10 + t)): literal values, and what stays of the first weights after 300 steps."""
    assert [decay_after(step, 0.5) for step in (1, 2, 8, 9)] == [2 / 11, 3 / 12, 0.5, 0.5]
    assert decay_after(10**6, 0.999) == 0.999 and decay_after(1, 0.0) == 0.0
    left = 1.0
    for step in range(1, 301):
        left *= decay_after(step, 0.999)
    assert left < 1e-9 < 0.999**300 == pytest.approx(0.74, abs=0.01)


def test_the_first_steps_follow_the_weights(tmp_path):
    """After one step from 2 to 4 the average is 2 * 2/11 + 4 * 9/11, whatever the decay is."""
    model, ema = nn.Linear(1, 1, bias=False), EmaCallback(0.999)
    model.weight.data.fill_(2.0)
    ema.on_train_begin(make_arguments(tmp_path), TrainerState(), TrainerControl(), model=model)
    model.weight.data.fill_(4.0)
    first = TrainerState(global_step=1)
    ema.on_step_end(make_arguments(tmp_path), first, TrainerControl(should_save=True), model=model)
    assert model.weight.item() == pytest.approx(2 * 2 / 11 + 4 * 9 / 11)


def averaged(tmp_path, **options):
    """A weight that went from 2 to 4 in one step under decay 0.9, so that the average is 2.2."""
    model, ema, arguments = (
        nn.Linear(1, 1, bias=False),
        EmaCallback(0.9),
        make_arguments(tmp_path, **options),
    )
    model.weight.data.fill_(2.0)
    ema.on_train_begin(arguments, WARM, TrainerControl(), model=model)
    model.weight.data.fill_(4.0)
    ema.on_step_end(arguments, WARM, TrainerControl(), model=model)
    assert model.weight.item() == 4
    return model, ema, arguments


@pytest.mark.parametrize("look", ["should_evaluate", "should_save"])
def test_the_end_of_an_epoch_is_looked_at_too(look, tmp_path):
    model, ema, arguments = averaged(tmp_path)
    ema.on_epoch_end(arguments, WARM, TrainerControl(), model=model)
    assert model.weight.item() == 4
    for _ in range(2):
        ema.on_epoch_end(arguments, WARM, TrainerControl(**{look: True}), model=model)
        assert model.weight.item() == pytest.approx(2.2)
    ema.on_step_begin(arguments, WARM, TrainerControl(), model=model)
    assert model.weight.item() == 4


def test_the_best_model_stays_when_it_was_loaded_after_a_step_without_a_look(tmp_path):
    """As with save_strategy best, whose last step may be saved by nobody."""
    often = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    for best, expected in (("checkpoint-2", 7.0), (None, 2.2)):
        model, ema, arguments = averaged(tmp_path, load_best_model_at_end=True, **often)
        if best:
            model.weight.data.fill_(7.0)  # what Trainer loaded
        ema.on_train_end(
            arguments, TrainerState(best_model_checkpoint=best), TrainerControl(), model=model
        )
        assert model.weight.item() == pytest.approx(expected)


def averages_of(folder: Path, decay: float) -> dict[int, dict[str, torch.Tensor]]:
    """The average after each step, from a run without one that saved its weights after every step."""
    average, found = dict(make_model(dropout=0.1).named_parameters()), {}
    for step in range(1, 7):
        weights = load_file(folder / f"checkpoint-{step}" / "model.safetensors")
        kept = min(decay, (1 + step) / (10 + step))
        average = {
            name: kept * average[name].detach() + (1 - kept) * weights[name] for name in average
        }
        found[step] = average
    return found


def test_training_is_as_without_and_what_is_saved_and_evaluated_is_the_average(tmp_path):
    # It evaluates as often: an evaluation draws from the random state that the next dropout masks come from.
    options = OPTIONS | SAVING | {"ema_decay": 0, "save_steps": 1}
    plain = make_trainer(tmp_path / "plain", OBJECTIVES["cross_entropy"], dropout=0.1, **options)
    plain.train()
    trainer = make_trainer(
        tmp_path / "ema", OBJECTIVES["cross_entropy"], dropout=0.1, **OPTIONS, **SAVING
    )
    trainer.train()
    expected = averages_of(tmp_path / "plain", 0.3)
    for step in (2, 4, 6):
        saved = load_file(tmp_path / "ema" / f"checkpoint-{step}" / "model.safetensors")
        training = load_file(tmp_path / "ema" / f"checkpoint-{step}" / TRAINING_WEIGHTS)
        unaveraged = load_file(tmp_path / "plain" / f"checkpoint-{step}" / "model.safetensors")
        for name, value in expected[step].items():
            torch.testing.assert_close(saved[name], value, rtol=1e-4, atol=1e-6)
            assert torch.equal(training[name], unaveraged[name])
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[6][name], rtol=1e-4, atol=1e-6)
    logged = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(logged) == 3 and logged[-1] == pytest.approx(
        trainer.evaluate()["eval_loss"], abs=1e-6
    )


@pytest.mark.parametrize("best", [False, True])
def test_a_resumed_run_ends_with_the_same_bits(best, tmp_path):
    options = OPTIONS | SAVING | {"load_best_model_at_end": best, "metric_for_best_model": "loss"}
    whole = make_trainer(tmp_path / "a", OBJECTIVES["rdrop"], dropout=0.1, **options)
    whole.train()
    resumed = make_trainer(tmp_path / "b", OBJECTIVES["rdrop"], dropout=0.1, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    assert largest_difference(whole.model, resumed.model) == 0
    for name in ("model.safetensors", TRAINING_WEIGHTS):
        one, other = (load_file(tmp_path / run / "checkpoint-6" / name) for run in "ab")
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_checkpoint_without_an_average_is_refused(tmp_path):
    plain = make_trainer(
        tmp_path, OBJECTIVES["cross_entropy"], **(OPTIONS | SAVING | {"ema_decay": 0})
    )
    plain.train()
    trainer = make_trainer(tmp_path, OBJECTIVES["cross_entropy"], **OPTIONS)
    with pytest.raises(UserError, match="ema_decay 0.3 cannot resume from .*checkpoint-2"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_through_train_py_with_explicit_groups(topic_flags, tmp_path):
    """The best checkpoint's model is the one saved; a layer that the encoder does not have is one line, status 2."""
    flags = [
        "--ema_decay",
        "0.7",
        "--adversarial",
        "fgm",
        "--parameter_groups",
        "embeddings=5e-3",
        "head=1e-2",
    ]
    folder = tmp_path / "out"
    run_ok(
        "train.py", *topic_flags, *flags, "layers.0=4e-3", "layers.1-=5e-3", "--output_dir", folder
    )
    best = int(
        (folder / "metrics.json").read_text().partition('"best_step": ')[2].partition(",")[0]
    )
    saved, checkpoint = load_file(folder / "model.safetensors"), folder / f"checkpoint-{best}"
    stored = load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(saved[name], stored[name]) for name in saved)
    assert (checkpoint / TRAINING_WEIGHTS).is_file() and not (folder / TRAINING_WEIGHTS).exists()
    done = run_script(
        "train.py", *topic_flags, *flags, "layers.0=4e-3", "--output_dir", tmp_path / "other"
    )
    assert done.returncode == 2 and "layers.0=0.004" not in done.stderr
    assert "layers.0=4e-3 leave out layer 1 of 2" in done.stderr and "Traceback" not in done.stderr
