"""Heads and feed-forward neurons: ranked, kept, and rebuilt from config.json alone."""

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.compression.conftest import small_model
from trainer_ext.compression.width import importance_of, kept_counts, most_important, narrow
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layer_sizes import blocks_of, keep, linear_at, sizes_of

LABELS = torch.tensor([0, 1, 2, 0])


def loss_of(model):
    """Return the function that `importance_of` asks for."""
    return lambda batch: cross_entropy(model(**batch).logits, LABELS)


def measured(model, inputs):
    """Return the importance over one batch."""
    return importance_of(model, [inputs], loss_of(model))


@torch.no_grad()
def logits_of(model, inputs):
    """Return a model's logits."""
    return model(**inputs).logits


def test_full_width_changes_nothing(model, inputs):
    """To the bit, and no word of it in the config."""
    before = logits_of(model, inputs)
    narrow(model, measured(model, inputs), kept_counts(model.encoder, 1.0))
    assert torch.equal(logits_of(model, inputs), before)
    assert model.config.layer_sizes is None


def test_permuting_heads_and_neurons_changes_nothing(model, inputs):
    """All are kept, in another order; in float64, as sums in another order round otherwise."""
    model.double()
    before = logits_of(model, inputs)
    for block in blocks_of(model.encoder):
        keep(block, torch.tensor([2, 0, 3, 1]), torch.arange(24).flip(0))
    torch.testing.assert_close(logits_of(model, inputs), before, rtol=0, atol=1e-10)


def test_dropping_dead_heads_and_neurons_changes_nothing(model, inputs):
    """What is multiplied by 0 has no importance, goes, and is not missed."""
    with torch.no_grad():
        for block in blocks_of(model.encoder):
            linear_at(block.attention_output).weight[:, 8:24] = 0  # heads 1 and 2
            linear_at(block.outer).weight[:, ::2] = 0
    before = logits_of(model, inputs)
    importance = measured(model, inputs)
    assert importance.heads[0][[1, 2]].tolist() == [0, 0]
    narrow(model, importance, kept_counts(model.encoder, 0.5))
    assert sizes_of(model.encoder) == [{"heads": 2, "inner": 12}] * 4
    torch.testing.assert_close(logits_of(model, inputs), before, rtol=0, atol=1e-5)


def test_importance_is_the_gradient_of_a_gate(bert, inputs):
    """Scale one head, or one neuron, of one text alone: the loss's derivative at 1, by finite differences."""
    one = {name: values[:1] for name, values in inputs.items()}
    bert.double()

    def loss(batch):
        return cross_entropy(bert(**batch).logits, LABELS[:1])

    importance = importance_of(bert, [one], loss)
    block = blocks_of(bert.encoder)[1]
    gates = [
        (linear_at(block.attention_output), slice(8, 16), importance.heads[1][1]),
        (linear_at(block.outer), slice(5, 6), importance.neurons[1][5]),
    ]
    for linear, columns, expected in gates:
        losses = []
        weight = linear.weight.detach().clone()
        for gate in (1 + 1e-4, 1 - 1e-4):
            with torch.no_grad():
                linear.weight[:, columns] = weight[:, columns] * gate
                losses.append(loss(one).item())
                linear.weight.copy_(weight)
        slope = abs(losses[0] - losses[1]) / 2e-4
        assert slope == pytest.approx(expected.item(), rel=1e-4)


def test_measuring_leaves_the_model_as_it_was(bert, inputs):
    """Mode, gradients, hooks."""
    bert.train()
    measured(bert, inputs)
    assert bert.training
    assert all(parameter.grad is None for parameter in bert.parameters())
    assert not linear_at(blocks_of(bert.encoder)[0].outer)._forward_pre_hooks


def test_the_most_important_stay_in_their_order():
    """Of equal ones the first."""
    assert most_important(torch.tensor([1.0, 5.0, 2.0, 5.0, 2.0]), 3).tolist() == [1, 2, 3]


def test_a_narrow_model_is_loaded_from_its_folder(model, inputs, tmp_path):
    """Plain `from_pretrained`, to the bit; the file is smaller."""
    model.save_pretrained(tmp_path / "whole")
    narrow(model, measured(model, inputs), kept_counts(model.encoder, 0.5))
    model.save_pretrained(tmp_path / "narrow")
    loaded = EncoderWithHead.from_pretrained(tmp_path / "narrow").eval()
    assert torch.equal(logits_of(loaded, inputs), logits_of(model, inputs))
    whole, small = (tmp_path / name / "model.safetensors" for name in ("whole", "narrow"))
    assert small.stat().st_size < 0.8 * whole.stat().st_size


@pytest.mark.slow
def test_a_fresh_process_loads_it_with_the_auto_class(bert, inputs, tmp_path):
    """As a user does."""
    narrow(bert, measured(bert, inputs), kept_counts(bert.encoder, 0.25))
    bert.save_pretrained(tmp_path)
    code = (
        "import sys, trainer_ext; from transformers import AutoModelForSequenceClassification as M\n"
        "model = M.from_pretrained(sys.argv[1])\n"
        "print(*model.encoder.encoder.layer[3].attention.self.query.weight.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.stdout == "8 32\n", done.stderr


def test_a_narrow_model_is_narrowed_on(bert, inputs):
    """A second time, from what the first left."""
    narrow(bert, measured(bert, inputs), kept_counts(bert.encoder, 0.5))
    narrow(bert, measured(bert, inputs), kept_counts(bert.encoder, 0.5))
    assert bert.config.layer_sizes == [{"heads": 1, "inner": 6}] * 4


@pytest.mark.parametrize(
    "width, message",
    [
        (0.3, "width 0.3 of a layer's 4 heads is 1.2"),
        (0.1, "width 0.1 of a layer's 4 heads is 0.4"),
    ],
)
def test_a_width_that_divides_nothing_is_refused(bert, width, message):
    """With both numbers."""
    with pytest.raises(UserError, match=message):
        kept_counts(bert.encoder, width)


def test_an_unknown_encoder_is_refused():
    """By the name of its kind."""
    model = small_model("bert")
    model.encoder.config.model_type = "albert"
    with pytest.raises(UserError, match="an encoder of the kind albert cannot be cut"):
        kept_counts(model.encoder, 0.5)
