"""Whole layers dropped."""

import pytest
import torch

from trainer_ext.compression.layers import evenly, keep_layers
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layer_sizes import layers_of


@pytest.mark.parametrize(
    "depth, count, expected",
    [
        (12, 4, [2, 5, 8, 11]),
        (12, 6, [1, 3, 5, 7, 9, 11]),
        (4, 4, [0, 1, 2, 3]),
        (4, 3, [0, 1, 3]),
        (4, 1, [3]),
    ],
)
def test_layers_are_chosen_evenly(depth, count, expected):
    """The last one always."""
    assert evenly(depth, count) == expected


def test_kept_layers_are_saved_and_loaded(model, inputs, tmp_path):
    """Layers 1 and 3, in this order, from the folder alone."""
    before = list(layers_of(model.encoder))
    keep_layers(model, 2)
    assert list(layers_of(model.encoder)) == [before[1], before[3]]
    model.save_pretrained(tmp_path)
    loaded = EncoderWithHead.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


def test_all_layers_change_nothing(model, inputs):
    """To the bit."""
    before = model(**inputs).logits
    keep_layers(model, 4)
    assert torch.equal(model(**inputs).logits, before)


def test_sizes_go_with_their_layers(bert):
    """Of a model that was narrowed before."""
    bert.config.layer_sizes = [{"heads": number, "inner": 24} for number in range(1, 5)]
    keep_layers(bert, 2)
    assert [size["heads"] for size in bert.config.layer_sizes] == [2, 4]


def test_more_layers_than_there_are(bert):
    """With both numbers."""
    with pytest.raises(UserError, match="keep_layers 5: the encoder has 4 layers"):
        keep_layers(bert, 5)
