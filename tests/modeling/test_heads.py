"""Learned poolings, multi-sample dropout, fresh and frozen layers."""

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import Trainer

from tests.conftest import run_ok
from tests.modeling.test_model import pooled
from tests.objectives.test_objective import OBJECTIVES
from tests.training.test_parameter_groups import ARCHITECTURES, build
from tests.training.test_trainer import largest_difference, make_trainer
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.errors import UserError
from trainer_ext.export.to_onnx import export_onnx
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.layers import layer_of, prepare_layers
from trainer_ext.modeling.model import POOLING_MODULES
from trainer_ext.modeling.pooling import MODULES, POOLINGS
from trainer_ext.modeling.session import load_checkpoint
from trainer_ext.training.parameter_groups import parameter_groups

STATES = [torch.tensor([[[float(k), 1.0], [2.0 * k, 3.0], [9.0, 9.0]]]) for k in range(5)]
MASK = torch.tensor([[1, 1, 0]])


def pooling(name: str):
    config = pooled(name).config
    config.encoder.hidden_size = 2
    return MODULES[name](config)


def test_attention_by_hand():
    module = pooling("attention")
    module.project.weight.data, module.project.bias.data = torch.eye(2), torch.zeros(2)
    module.score.weight.data = torch.tensor([[2.0, 0.0]])
    weights = torch.softmax(2 * torch.tanh(torch.tensor([4.0, 8.0])), dim=0)
    expected = weights[0] * STATES[4][0, 0] + weights[1] * STATES[4][0, 1]
    torch.testing.assert_close(module(module.states(STATES), MASK)[0], expected)
    module.score.weight.data.zero_()
    torch.testing.assert_close(module(module.states(STATES), MASK), torch.tensor([[6.0, 2.0]]))


def test_weighted_layers_by_hand():
    """Equal weights at the start; then the third layer alone."""
    module = pooling("weighted_layers")
    torch.testing.assert_close(
        module(module.states(STATES), MASK), torch.tensor([[3.0, 2.0]])
    )  # mean of 1.5 k over k = 0..4
    module.layer_scores.data[3] = 100.0
    torch.testing.assert_close(module(module.states(STATES), MASK), torch.tensor([[4.5, 2.0]]))


def test_concat_last4_by_hand():
    expected = torch.tensor([[1.5, 2.0, 3.0, 2.0, 4.5, 2.0, 6.0, 2.0]])
    module = pooling("concat_last4")
    torch.testing.assert_close(module(module.states(STATES), MASK), expected)
    with pytest.raises(UserError, match="needs 4 layers, but the encoder has 3"):
        EncoderWithHead(
            EncoderWithHeadConfig(build("bert").config.encoder, [3], pooling="concat_last4")
        )


# The hidden layer comes after the mean, for the text's head alone.
@pytest.mark.parametrize("name", ["mean", *sorted(set(MODULES) - {"mean_hidden"})])
def test_a_token_head_reads_the_states_that_are_pooled(name):
    """With every token state the same, the vector of the text is that state, so both heads see one input."""
    model = pooled(name, token_classes=3).eval()
    model.token_head.load_state_dict(model.head.state_dict())
    model.encoder = SameStates(model.config.encoder)
    output = model(torch.tensor([[2, 7, 8, 3]]), torch.tensor([[1, 1, 1, 0]]))
    torch.testing.assert_close(output.token_logits, output.logits[:, None].expand(1, 4, 3))


class SameStates(torch.nn.Module):
    """An encoder whose layers each have one state for all tokens."""

    def __init__(self, config):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.rows = torch.randn(
            config.num_hidden_layers + 1, config.hidden_size, generator=generator
        )

    def forward(self, input_ids, **kwargs):
        """The states of every layer, and the last one's."""
        layers = tuple(row.expand(*input_ids.shape, -1) for row in self.rows)
        return SimpleNamespace(hidden_states=layers, last_hidden_state=layers[-1])


@pytest.mark.parametrize("name", POOLING_MODULES)
def test_new_parameters_are_in_one_group_at_the_heads_rate_and_reload(name, tmp_path):
    model = pooled(name).eval()
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    groups = parameter_groups(model, 1e-3, 0.01, 0.5, 4.0, decayed)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert all(rates[id(p)] == 4e-3 for p in model.pooling.parameters())
    ids = torch.tensor([[2, 7, 8, 3]])
    model(ids).logits.sum().backward()
    assert all(p.grad is not None for p in model.pooling.parameters())
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(
        load_checkpoint(tmp_path).eval()(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", [*POOLINGS, *POOLING_MODULES])
def test_onnx_has_the_same_logits(name, tmp_path):
    model = pooled(name).eval()
    model.config.pipeline = {"input_names": ["input_ids", "attention_mask"]}
    session = onnxruntime.InferenceSession(export_onnx(model, tmp_path).path)
    ids, mask = torch.randint(5, 39, (3, 7)), torch.ones(3, 7, dtype=torch.long)
    mask[1, 4:] = 0
    (logits,) = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    np.testing.assert_allclose(logits, model(ids, mask).logits.detach().numpy(), atol=1e-5)


def test_multi_sample_dropout(tmp_path):
    """K masks in one forward; the logged loss is their mean; without dropout the steps are those of one."""
    model = pooled("mean").train()
    model.config.multi_sample_dropout = 4
    logits = model(torch.randint(5, 39, (2, 7))).logits.unflatten(0, (4, 2))
    assert not torch.equal(logits[0], logits[1])
    assert model.eval()(torch.randint(5, 39, (2, 7))).logits.shape == (2, 3)
    model = pooled("mean", token_classes=5).train()
    model.config.multi_sample_dropout = 4
    tags = model(torch.randint(5, 39, (2, 7))).token_logits.unflatten(0, (4, 2))
    assert tags.shape == (4, 2, 7, 5) and not torch.equal(tags[0], tags[1])
    plain, several = (
        make_trainer(tmp_path / k, OBJECTIVES["focal_rdrop"], max_steps=2) for k in "ab"
    )
    several.model.config.multi_sample_dropout = 3
    plain.train()
    several.train()
    assert largest_difference(plain.model, several.model) < 2e-6


def test_dropout_is_applied_once_before_the_head_and_to_each_sample_by_itself():
    model, vectors, inputs = pooled("mean", head_dropout=0.5, multi_sample_dropout=4), [], []
    model.pooling.register_forward_hook(lambda module, given, vector: vectors.append(vector))
    model.head.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    ids = torch.randint(5, 39, (8, 7))
    model.train()(ids)
    kept = inputs[0] != 0
    torch.testing.assert_close(inputs[0][kept], 2 * vectors[0].repeat(4, 1)[kept])
    assert 0.4 < kept.float().mean() < 0.6 and not torch.equal(kept[:8], kept[8:16])
    logits = model.eval()(ids).logits
    torch.testing.assert_close(logits, model.head(vectors[1]))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fresh_and_frozen_layers(name):
    """The top layer's matrices are new, its norms as they start; embeddings and the lowest layer stay."""
    model = build(name)
    torch.nn.init.constant_(
        next(p for n, p in model.named_parameters() if layer_of(n) == 0 and p.dim() > 1), 0.5
    )
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    top = max(layer_of(n) or 0 for n in before)
    flags = {"reinit_layers": 1} | ({"freeze_layers": 1, "freeze_embeddings": True} if top else {})
    prepare_layers(model, ModelArguments(**flags))
    for key, parameter in model.named_parameters():
        layer = layer_of(key) if key.startswith("encoder.") else None
        assert torch.equal(parameter, before[key]) != (layer == top and parameter.dim() > 1), key
        frozen = top and (
            layer == 0 or (layer is None and key.startswith("encoder.") and "embed" in key)
        )
        assert parameter.requires_grad != bool(frozen), key
    if top:
        with pytest.raises(
            UserError, match="reinit_layers 2 and freeze_layers 2 are more than the 3 layers"
        ):
            prepare_layers(model, ModelArguments(reinit_layers=2, freeze_layers=2))


def test_frozen_layers_with_gradient_checkpointing_train_the_rest(
    topic_flags, topic_checkpoint, tmp_path
):
    """Through train.py, from a checkpoint of ours as the pretrained model."""
    keep = [str(flag) for flag in topic_flags]
    start = keep.index("--from_scratch")
    flags = [
        *keep[:start],
        *keep[start + 4 :],
        "--model_name_or_path",
        topic_checkpoint,
        "--gradient_checkpointing",
        "true",
    ]
    flags += [
        "--freeze_embeddings",
        "true",
        "--freeze_layers",
        "1",
        "--reinit_layers",
        "1",
        "--multi_sample_dropout",
        "3",
    ]
    run_ok("train.py", *flags, "--output_dir", tmp_path / "out")
    before, after = load_checkpoint(topic_checkpoint), load_checkpoint(tmp_path / "out")
    assert after.config.multi_sample_dropout == 3
    for (key, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        frozen = "embeddings" in key or layer_of(key) == 0
        assert torch.equal(old, new) == frozen, key


def test_a_learned_pooling_with_multi_sample_dropout_through_train_py(topic_flags, tmp_path):
    flags = [
        "--pooling",
        "attention",
        "--multi_sample_dropout",
        "4",
        "--rdrop_alpha",
        "1",
        "--adversarial",
        "fgm",
    ]
    run_ok("train.py", *topic_flags, *flags, "--output_dir", tmp_path / "out")
    assert load_checkpoint(tmp_path / "out").config.multi_sample_dropout == 4
