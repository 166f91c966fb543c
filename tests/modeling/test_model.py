"""Encoder with head: pooling, round trip through the Auto classes, use of the encoder's inputs."""

import subprocess
import sys

import pytest
import torch
from transformers import BertConfig

from tests.conftest import ROOT
from tests.training.test_parameter_groups import ARCHITECTURES, SMALL, build
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.model import POOLING_MODULES
from trainer_ext.modeling.pooling import POOLINGS, pool
from trainer_ext.modeling.session import load_checkpoint


def test_poolings_on_literal_states():
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool("cls", states, mask).tolist() == [[1.0, 2.0]]
    assert pool("mean", states, mask).tolist() == [[2.0, 4.0]]
    assert pool("max", -states, mask).tolist() == [[-1.0, -2.0]]
    assert pool("mean", states[:, :2], None).tolist() == [[2.0, 4.0]]


def pooled(name: str, **kwargs) -> EncoderWithHead:
    """A BERT of four layers with a pooling, whose parameters are no longer as they start."""
    torch.manual_seed(0)
    config = type(build("bert").config)(
        BertConfig(**(SMALL | {"num_hidden_layers": 4})), [3], pooling=name, **kwargs
    )
    model = EncoderWithHead(config)
    for parameter in (*model.pooling.parameters(), *model.head.parameters()):
        parameter.data.normal_()
    return model


def test_outputs_on_the_scale_of_the_labels():
    """`logit_scale` times what the head says, plus `logit_mean`."""
    scaled = pooled("mean", logit_scale=[2.0, 1.0, 0.5], logit_mean=[10.0, -1.0, 3.0]).eval()
    ids = torch.tensor([[2, 7, 8, 3]])
    expected = pooled("mean").eval()(ids).logits * torch.tensor([2.0, 1.0, 0.5]) + torch.tensor(
        [10.0, -1.0, 3.0]
    )
    torch.testing.assert_close(scaled(ids).logits, expected)


@pytest.mark.parametrize("name", [*POOLINGS, *POOLING_MODULES])
def test_padding_changes_nothing(name):
    model = pooled(name).eval()
    ids, mask = torch.tensor([[2, 7, 8, 3]]), torch.ones(1, 4, dtype=torch.long)
    padded, longer = torch.nn.functional.pad(ids, (0, 3)), torch.nn.functional.pad(mask, (0, 3))
    torch.testing.assert_close(
        model(ids, mask).logits, model(padded, longer).logits, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_run_and_reload(name, tmp_path):
    model = build(name).eval()
    ids, mask = torch.tensor([[2, 7, 8, 3]]), torch.ones(1, 4, dtype=torch.long)
    logits = model(ids, mask, token_type_ids=torch.zeros_like(ids)).logits
    assert logits.shape == (1, 3)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(
        load_checkpoint(tmp_path).eval()(ids, mask).logits, logits, rtol=1e-5, atol=1e-6
    )


def test_head_shape():
    model = build("bert")
    model = EncoderWithHead(type(model.config)(model.config.encoder, [18, 4]))
    assert model(torch.tensor([[2, 3], [2, 3]])).logits.shape == (2, 18, 4)


def test_auto_classes_in_a_fresh_process(topic_checkpoint):
    code = f"""
import trainer_ext, torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
path = {str(topic_checkpoint)!r}
ids = AutoTokenizer.from_pretrained(path)("team match", return_tensors="pt")
logits = [c.from_pretrained(path).eval()(**ids).logits for c in (AutoModel, AutoModelForSequenceClassification)]
assert torch.equal(*logits), logits
assert AutoConfig.from_pretrained(path).id2label == {{0: "games", 1: "money", 2: "sports"}}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_damaged_checkpoints_are_refused(tmp_path):
    model = build("bert")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_checkpoint(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):  # never a pickle
        load_checkpoint(tmp_path)


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path):
    model = build("bert")
    model.save_pretrained(tmp_path)
    state = {key: value for key, value in model.state_dict().items() if key != "head.bias"}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(UserError, match="head.bias"):
        load_checkpoint(tmp_path)
