"""The statistics of an optimizer step, in numbers that can be checked by hand; and the means of terms."""

import pytest
import torch

from trainer_ext.objectives.base import Objective
from trainer_ext.objectives.rmse import RmseTerm
from trainer_ext.training.optimizer_step import OptimizerStep
from trainer_ext.training.term_means import TermMeans

RMSE = Objective(((1.0, RmseTerm()),))
BATCHES = [{"logits": [1.0, 2.0], "labels": [0.0, 0.0]}, {"logits": [3.0], "labels": [1.0]}]


def by_head(batch: dict) -> tuple[dict, dict]:
    """Logits (1, B, 1) and labels (B, 1)."""
    logits = torch.tensor(batch["logits"]).reshape(1, -1, 1)
    return {"labels": logits}, {"labels": torch.tensor(batch["labels"]).reshape(-1, 1)}


def measured_step(forward=by_head) -> OptimizerStep:
    step = OptimizerStep(RMSE, {"rmse": torch.tensor(3.0)}, BATCHES)
    assert step.is_unmeasured
    step.measure(forward, lambda totals: totals)
    assert not step.is_unmeasured
    return step


def test_the_losses_of_the_batches_add_up_to_that_of_the_step():
    """Root of (1 + 4 + 4) / 3, though one batch alone has the root of 5 / 2."""
    step = measured_step()
    total = 0.0
    for batch in BATCHES:
        logits, labels = by_head(batch)
        loss, _ = RMSE(logits, labels, step.for_clean_run(logits, labels))
        total += loss.item()
    assert total == pytest.approx(3**0.5)


def test_a_perturbed_run_replaces_its_own_part_only():
    """The second batch is off by 4 instead of 2: 1 + 4 + 16 over the step, and 1 + 4 + 4 in its next clean run."""
    step = measured_step()
    step.for_clean_run(*by_head(BATCHES[0]))
    logits, labels = by_head(BATCHES[1])
    clean = step.for_clean_run(logits, labels)
    perturbed = step.for_perturbed_run({"labels": logits["labels"] + 2}, labels)
    assert clean["statistics_rmse"].item() == pytest.approx(9)
    assert perturbed["statistics_rmse"].item() == pytest.approx(21)
    assert step.for_clean_run(logits, labels)["statistics_rmse"].item() == pytest.approx(9)
    assert clean["rmse"] == perturbed["rmse"] == 3


def test_measuring_leaves_the_random_state():
    """The batches are trained on with the dropout that they were measured with."""
    drawn = []

    def forward(batch: dict) -> tuple[dict, dict]:
        drawn.append(torch.rand(1).item())
        return by_head(batch)

    torch.manual_seed(0)
    measured_step(forward)
    assert [torch.rand(1).item() for _ in BATCHES] == drawn


def test_without_batches_there_are_weights_only():
    """Of terms that are means over items, and of a step that is one batch."""
    step = OptimizerStep(RMSE, {"rmse": torch.tensor(3.0)})
    assert not step.is_unmeasured
    logits, labels = by_head(BATCHES[0])
    assert set(step.for_clean_run(logits, labels)) == {"rmse"}
    assert set(step.for_perturbed_run(logits, labels)) == {"rmse"}


def test_means_of_terms_are_over_items_and_all_devices():
    """(2 + 4) / (1 + 3) here; doubled by a second device that has the same. A term without items is 0."""
    means = TermMeans()
    means.add("focal", torch.tensor(2.0), torch.tensor(1.0))
    means.add("focal", 4.0, 3.0)
    means.add("slots", 0.0, 0.0)
    assert means

    def two_devices(sums: dict) -> dict:
        return {name: pair + torch.tensor([6.0, 0.0]) for name, pair in sums.items()}

    taken = means.take(lambda sums: sums)
    assert taken == {"loss_focal": 1.5, "loss_slots": 0.0} and not means
    means.add("focal", 6.0, 4.0)
    assert means.take(two_devices) == {"loss_focal": 3.0}
