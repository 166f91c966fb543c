"""Label-wise attention: against a convolution and attentions written out, and through model, padding and checks."""

import torch
from torch.nn import functional as F

from tests.modeling.test_model import pooled
from trainer_ext.modeling.label_attention import KERNEL, LabelAttention, LabelHead, neighbours
from trainer_ext.modeling.model import EncoderWithHead


def module_for(head_shape: list[int]) -> LabelAttention:
    config = pooled("mean").config
    config.head_shape = head_shape
    torch.manual_seed(3)
    return LabelAttention(config)


def test_neighbours_by_hand():
    """Each token's two neighbours on both sides, in order, with zeros beyond the ends."""
    states = torch.tensor([[[1.0], [2.0], [3.0]]])
    expected = [[0.0, 0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0, 0.0], [1.0, 2.0, 3.0, 0.0, 0.0]]
    assert neighbours(states).tolist() == [expected]


def test_equals_a_convolution_and_an_attention_for_each_label():
    module = module_for([3, 4])
    states, mask = torch.randn(2, 7, module.width), torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    kernel = module.convolve.weight.view(module.features, KERNEL, module.width).transpose(1, 2)
    found = module(states, mask)
    for row, length in enumerate((7, 4)):
        text = states[row : row + 1, :length]
        convolved = F.conv1d(
            text.transpose(1, 2), kernel, module.convolve.bias, padding=KERNEL // 2
        )
        features = torch.tanh(convolved[0].T)
        for label in range(3):
            attention = (features @ module.score.weight[label]).softmax(dim=0)
            torch.testing.assert_close(
                found[row, label], attention @ features, rtol=1e-4, atol=1e-5
            )


def test_each_label_has_a_head_of_its_own():
    """Literal values for two labels of two outputs, and for one output each, as multi_label and regression have it."""
    head = LabelHead([2, 2], 1)
    head.weight.data, head.bias.data = (
        torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]),
        torch.tensor([[0.5, 0], [0, 0]]),
    )
    assert head(torch.tensor([[[10.0], [100.0]]])).tolist() == [[10.5, 20.0, 300.0, 400.0]]
    flat = LabelHead([2], 1)
    flat.weight.data = torch.tensor([[[2.0]], [[3.0]]])
    assert flat(torch.tensor([[[1.0], [1.0]]])).tolist() == [[2.0, 3.0]]


def test_logits_do_not_depend_on_padding_and_multi_sample_dropout_repeats_them():
    model = pooled("label_attention", multi_sample_dropout=3).eval()
    ids = torch.tensor([[2, 7, 8, 3]])
    padded = torch.tensor([[2, 7, 8, 3, 0, 0]])
    short = model(ids, torch.ones_like(ids)).logits
    long = model(padded, torch.tensor([[1, 1, 1, 1, 0, 0]])).logits
    torch.testing.assert_close(short, long, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(ids).logits, short, rtol=1e-4, atol=1e-5)
    assert model.train()(ids).logits.shape == (3, 3)


def test_the_head_starts_small_and_is_part_of_what_is_saved(tmp_path):
    model = pooled("label_attention")
    fresh = EncoderWithHead(model.config)
    assert 0 < fresh.head.weight.std() < 0.05 and not fresh.head.bias.any()
    model.save_pretrained(tmp_path)
    again = EncoderWithHead.from_pretrained(tmp_path)
    assert torch.equal(again.head.weight, model.head.weight) and torch.equal(
        again.head.bias, model.head.bias
    )
