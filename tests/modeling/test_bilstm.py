"""The LSTM in both directions: equal to torch's over packed sequences, whatever stands beside a text."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainer_ext.arguments.model import ModelArguments
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.bilstm import BiLstmConfig, BiLstmEncoder, reorder, reversed_places
from trainer_ext.modeling.layers import number_of_layers, part_of, prepare_layers

LENGTHS = (6, 1, 4)


def encoder(**changes) -> BiLstmEncoder:
    """A small one whose weights are of a size at which states differ."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "embedding_size": 6, "hidden_size": 8} | changes
    return BiLstmEncoder(BiLstmConfig(initializer_range=1.0, **sizes)).eval()


def with_head(**changes) -> EncoderWithHead:
    config = BiLstmConfig(vocab_size=30, embedding_size=6, hidden_size=8)
    return EncoderWithHead(EncoderWithHeadConfig(config, [3], **changes)).eval()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of three lengths; what stands at padding is no [PAD], which must not matter."""
    ids = torch.randint(5, 30, (len(LENGTHS), max(LENGTHS)))
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
    return ids, mask


def test_texts_turned_round_within_their_length():
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert reversed_places(mask).tolist() == [[2, 1, 0, 3], [3, 2, 1, 0], [0, 1, 2, 3]]
    vectors = torch.tensor([[[1.0], [2.0], [3.0], [9.0]]])
    turned = reorder(vectors, reversed_places(mask[:1]))
    assert turned.flatten().tolist() == [3.0, 2.0, 1.0, 9.0]


def test_equals_a_bidirectional_lstm_over_packed_sequences():
    ours = encoder()
    theirs = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    for direction, suffix in ((ours.from_left, ""), (ours.from_right, "_reverse")):
        for name, value in direction.named_parameters():
            getattr(theirs, name + suffix).data = value.data
    ids, mask = batch()
    packed = pack_padded_sequence(
        ours.embeddings(ids), torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
    )
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    states = ours(ids, mask).last_hidden_state * mask.unsqueeze(-1)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["attention", "mean", "max", "mean_hidden", "label_attention"])
def test_padding_and_neighbours_change_nothing(pooling):
    model = with_head(pooling=pooling)
    ids, mask = batch()
    together = model(ids, mask).logits
    for row, length in enumerate(LENGTHS):
        alone = model(ids[row : row + 1, :length]).logits[0]
        torch.testing.assert_close(alone, together[row], rtol=0, atol=1e-6)


def test_the_last_token_is_read_by_the_first_state_and_the_first_by_the_last():
    model = encoder()
    ids = torch.tensor([[5, 6, 7, 8]])
    states = model(ids).last_hidden_state
    end, start = ids.clone(), ids.clone()
    end[0, 3], start[0, 0] = 20, 20
    from_left, from_right = slice(0, 4), slice(4, 8)
    changed = model(end).last_hidden_state
    assert torch.equal(changed[:, 0, from_left], states[:, 0, from_left])
    assert not torch.allclose(changed[:, 0, from_right], states[:, 0, from_right])
    changed = model(start).last_hidden_state
    assert torch.equal(changed[:, 3, from_right], states[:, 3, from_right])
    assert not torch.allclose(changed[:, 3, from_left], states[:, 3, from_left])


def test_parts_of_the_model():
    """Learning rates by layer and frozen parts find them by their names."""
    model = with_head(pooling="attention")
    assert number_of_layers(model) == 1
    parts = {name: part_of(name) for name, _ in model.named_parameters()}
    assert parts["encoder.embeddings.weight"] == ("embeddings", 0)
    assert parts["encoder.from_right.weight_hh_l0"] == ("layers", 0)
    assert parts["pooling.score.weight"] == ("head", 0)
    assert {part for part, _ in parts.values()} == {"embeddings", "layers", "head"}
    prepare_layers(model, ModelArguments(freeze_embeddings=True, freeze_layers=1))
    trained = {part_of(name)[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"head"}
    with pytest.raises(UserError, match="reinit_layers 1 has no effect on a bilstm"):
        prepare_layers(model, ModelArguments(reinit_layers=1))


@pytest.mark.parametrize("pooling", ["weighted_layers", "concat_last4"])
def test_poolings_of_layers_are_refused(pooling):
    with pytest.raises(
        UserError, match=f"{pooling} reads the states of all layers, .* bilstm_encoder"
    ):
        with_head(pooling=pooling)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("hidden_size", 7, "hidden_size 7 cannot be halved"),
        ("hidden_size", 0, "hidden_size 0 cannot be halved"),
        ("embedding_size", 0, "embedding_size 0 is less than 1"),
    ],
)
def test_sizes_that_cannot_be(name, value, message):
    with pytest.raises(UserError, match=message):
        BiLstmConfig(**{name: value}).check_sizes()
