"""The smallest weights become 0 and stay so."""

from types import SimpleNamespace

import pytest
import torch

from trainer_ext.compression.magnitude import (
    MagnitudePruning,
    compressed_bytes,
    cubic_sparsity,
    masks_of,
    matrices,
    sparsity_of,
)

WEIGHTS = {"a": torch.tensor([[1.0, -2.0], [3.0, -4.0]]), "b": torch.tensor([[0.1, 9.0]])}


def test_masks_of_each_matrix():
    """Half of each."""
    masks = masks_of(WEIGHTS, 0.5, is_global=False)
    assert masks["a"].tolist() == [[False, False], [True, True]]
    assert masks["b"].tolist() == [[False, True]]


def test_masks_of_all_matrices_together():
    """Half of all: 0.1, 1 and 2."""
    masks = masks_of(WEIGHTS, 0.5, is_global=True)
    assert masks["a"].tolist() == [[False, False], [True, True]]
    assert masks["b"].tolist() == [[False, True]]
    masks = masks_of(WEIGHTS, 1 / 3, is_global=True)
    assert masks["a"].tolist() == [[False, True], [True, True]]


def test_equal_weights_are_pruned_to_the_number():
    """Ties do not prune more."""
    masks = masks_of({"a": torch.ones(10)}, 0.3, is_global=False)
    assert masks["a"].tolist() == [False] * 3 + [True] * 7


def test_the_schedule_is_cubic():
    """0.8 (1 - (1 - t / 4)^3)."""
    values = [cubic_sparsity(step, 4, 0.8) for step in range(6)]
    assert values == pytest.approx([0.0, 0.4625, 0.7, 0.7875, 0.8, 0.8])
    assert cubic_sparsity(0, 0, 0.8) == 0.8


@pytest.mark.parametrize(
    "kinds, of_a_layer", [(["query"], 1), (["attention"], 4), (["query", "feed_forward"], 3)]
)
def test_matrices_are_found(model, kinds, of_a_layer):
    """In each of the four layers, none twice."""
    weights = matrices(model, kinds)
    assert len(weights) == 4 * of_a_layer
    assert len({id(weight) for weight in weights.values()}) == len(weights)


def state_at(step):
    """Return what the callback reads of a training of 10 steps."""
    return SimpleNamespace(global_step=step, max_steps=10)


def train(model, callback, steps, optimizer):
    """Take steps that move every weight, as the Trainer calls its callbacks."""
    for step in steps:
        optimizer.zero_grad()
        ids = torch.arange(5, 14)[None]
        model(input_ids=ids).logits.square().sum().backward()
        optimizer.step()
        callback.on_optimizer_step(None, state_at(step), None, model=model)
        callback.on_step_end(None, state_at(step + 1), None, model=model)


def test_pruned_weights_stay_zero(bert):
    """Momentum moves them; the mask puts them back."""
    callback = MagnitudePruning(["query"], 0.3, is_global=False)
    callback.on_train_begin(None, state_at(0), None, model=bert)
    masks = dict(callback.masks)
    train(bert, callback, range(3), torch.optim.AdamW(bert.parameters(), 0.1))
    for name, weight in matrices(bert, ["query"]).items():
        assert torch.equal(weight == 0, ~masks[name])
    assert sparsity_of(matrices(bert, ["query"])) == pytest.approx(0.3, abs=0.001)


def test_a_gradual_schedule_resumes_from_the_zeros(bert):
    """A callback that begins at step 5 ends with the masks of one that never stopped."""
    whole = MagnitudePruning(["feed_forward"], 0.5, is_global=True, ramp=0.8)
    whole.on_train_begin(None, state_at(0), None, model=bert)
    assert sparsity_of(matrices(bert, ["feed_forward"])) == 0
    optimizer = torch.optim.SGD(bert.parameters(), 0.001)
    train(bert, whole, range(5), optimizer)
    saved = {name: value.clone() for name, value in bert.state_dict().items()}
    train(bert, whole, range(5, 10), optimizer)
    expected = {name: value.clone() for name, value in bert.state_dict().items()}
    bert.load_state_dict(saved)
    resumed = MagnitudePruning(["feed_forward"], 0.5, is_global=True, ramp=0.8)
    resumed.on_train_begin(None, state_at(5), None, model=bert)
    train(bert, resumed, range(5, 10), optimizer)
    for name, value in bert.state_dict().items():
        assert torch.equal(value, expected[name])
    assert sparsity_of(matrices(bert, ["feed_forward"])) == pytest.approx(0.5, abs=0.001)


def test_zeros_are_compressed(tmp_path):
    """A file of noise hardly shrinks, one of which half is 0 by two fifths at least."""
    noise = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "weights"
    file.write_bytes(noise.numpy().tobytes())
    whole = compressed_bytes(file)
    noise[5_000:] = 0
    file.write_bytes(noise.numpy().tobytes())
    assert compressed_bytes(file) < 0.6 * whole
