"""`CustomTrainer` with balanced rows: the steps of an epoch, what it is shown, and a resumed run."""

from collections import Counter

import numpy as np
import pytest

from tests.objectives.test_objective import OBJECTIVES
from tests.training.test_trainer import largest_difference, make_data, make_trainer
from trainer_ext.data.sampling.resample import make_resampler

DATA = make_data()
DATA = DATA.select([k for k, label in enumerate(DATA["labels"]) if label != 2 or k < 15])
LABELS = DATA["labels"]


def balanced_trainer(folder, method="oversample", **options):
    trainer = make_trainer(folder, OBJECTIVES["cross_entropy"], dropout=0.1, data=DATA, **options)
    trainer.resampler = make_resampler(np.array(LABELS), method)
    return trainer


@pytest.mark.parametrize("method, size", [("oversample", 8), ("undersample", 5), ("hybrid", 7)])
def test_an_epoch_is_what_the_resampler_draws(method, size, tmp_path):
    """8, 8 and 5 rows: the steps, their warm-up, the counted samples and the classes shown follow."""
    assert sorted(Counter(LABELS).values()) == [5, 8, 8]
    options = {"max_steps": -1, "num_train_epochs": 2, "per_device_train_batch_size": 2}
    trainer = balanced_trainer(
        tmp_path,
        method,
        gradient_accumulation_steps=3,
        warmup_ratio=0.5,
        lr_scheduler_type="linear",
        **options,
    )
    shown, collate = [], trainer.data_collator
    trainer.data_collator = lambda rows: [
        shown.extend(row["labels"] for row in rows),
        collate(rows),
    ][1]
    metrics = trainer.train().metrics
    batches = -(-3 * size // 2)
    steps = 2 * -(-batches // 3)
    assert trainer.state.global_step == trainer.state.max_steps == steps
    assert Counter(shown) == dict.fromkeys(range(3), 2 * size)
    assert metrics["train_samples_per_second"] * metrics["train_runtime"] == pytest.approx(
        6 * size, rel=0.01
    )
    rates = [
        entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry
    ]
    assert rates.index(max(rates)) == -(-steps // 2), "the warm-up ends half-way"


@pytest.mark.parametrize("grouped", [False, True])
def test_a_run_resumed_inside_an_epoch_ends_with_the_same_bits(grouped, tmp_path):
    options = {
        "max_steps": 9,
        "per_device_train_batch_size": 4,
        "optim": "adamw_torch",
        "learning_rate": 1e-2,
    }
    options |= {"group_by_length": grouped, "save_strategy": "steps", "save_steps": 8}
    whole = balanced_trainer(tmp_path / "a", **options)
    whole.train()
    resumed = balanced_trainer(tmp_path / "b", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-8"))
    assert 6 < 8 < 12, "of two epochs with six steps the checkpoint is inside the second"
    assert largest_difference(whole.model, resumed.model) == 0
