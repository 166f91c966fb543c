"""The static encoder: means of vectors by hand, and n-grams hashed as a plain loop does it."""

import pytest
import torch

from trainer_ext.arguments.model import ModelArguments
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.bilstm import BiLstmConfig
from trainer_ext.modeling.layers import prepare_layers
from trainer_ext.modeling.pooling import mean_pooling
from trainer_ext.modeling.static import (
    MOST_BUCKETS,
    MULTIPLIER,
    StaticConfig,
    StaticEncoder,
    ngram_buckets,
)


def bucket_of(ngram: list[int], num_buckets: int) -> int:
    """The hash in numbers of any size."""
    number = len(ngram)
    for token in ngram:
        number = number * MULTIPLIER + token
    return number % num_buckets


def ngrams_of(ids: list[int], order: int) -> list[list[int]]:
    """The n-gram that ends at each token; before the text there is padding."""
    padded = [0] * (order - 1) + ids
    return [padded[place : place + order] for place in range(len(ids))]


@pytest.mark.parametrize("num_buckets", [1, 7, 65_536, MOST_BUCKETS])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_buckets_equal_a_plain_loop(num_buckets, length):
    torch.manual_seed(length)
    ids = torch.randint(0, 250_000, (3, length))
    buckets = ngram_buckets(ids, 4, num_buckets)
    assert buckets.shape == (3, length, 3)
    for row, found in zip(ids.tolist(), buckets.tolist(), strict=True):
        for order in (2, 3, 4):
            expected = [bucket_of(ngram, num_buckets) for ngram in ngrams_of(row, order)]
            assert [place[order - 2] for place in found] == expected


def test_the_order_of_tokens_matters_and_few_bigrams_share_a_bucket():
    assert bucket_of([5, 6], 65_536) != bucket_of([6, 5], 65_536)
    assert bucket_of([0, 5, 6], 65_536) != bucket_of([5, 6], 65_536)
    # 10,000 bigrams thrown at random into 65,536 buckets would fill 9,270 of them.
    pairs = torch.cartesian_prod(torch.arange(5, 105), torch.arange(2000, 2100))
    filled = ngram_buckets(pairs, 2, 65_536)[:, 1, 0].unique()
    assert len(filled) > 9_000


def test_the_mean_of_a_text_is_the_mean_of_all_its_vectors():
    torch.manual_seed(0)
    model = StaticEncoder(StaticConfig(30, 4, max_ngram=3, num_buckets=50)).eval()
    ids = [2, 7, 9, 3]
    vectors = [model.embeddings.weight[token] for token in ids]
    for order in (2, 3):
        for ngram in ngrams_of(ids, order):
            vectors.append(model.ngram_embeddings.weight[bucket_of(ngram, 50)])
    padded, mask = torch.tensor([[*ids, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    found = mean_pooling(model(padded, mask).last_hidden_state, mask)[0]
    torch.testing.assert_close(found, torch.stack(vectors).mean(dim=0))


def test_without_ngrams_the_states_are_the_vectors():
    model = StaticEncoder(StaticConfig(30, 4, max_ngram=1)).eval()
    ids = torch.tensor([[2, 7, 3]])
    assert model.ngram_embeddings is None
    assert torch.equal(model(ids).last_hidden_state, model.embeddings.weight[ids])


def with_head(**changes) -> EncoderWithHead:
    torch.manual_seed(0)
    encoder = StaticConfig(30, 4, num_buckets=50, initializer_range=1.0)
    return EncoderWithHead(EncoderWithHeadConfig(encoder, [3], **changes)).eval()


def test_a_hidden_layer_on_the_mean():
    """relu(W mean + b), written out."""
    model = with_head(pooling="mean_hidden")
    ids, mask = torch.tensor([[2, 7, 3, 0]]), torch.tensor([[1, 1, 1, 0]])
    mean = model.encoder(ids).last_hidden_state[0, :3].mean(dim=0)
    model.pooling.hidden.weight.data = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]] * 2)
    model.pooling.hidden.bias.data = torch.tensor([0.5, 0.5, -9.0, -9.0])
    hidden = [max(0.0, mean[0].item() + 0.5), max(0.0, 0.5 - mean[0].item()), 0.0, 0.0]
    expected = model.head(torch.tensor([hidden]))
    torch.testing.assert_close(model(ids, mask).logits, expected)


@pytest.mark.parametrize("pooling", ["mean_hidden", "mean", "attention"])
def test_padding_and_neighbours_change_nothing(pooling):
    model = with_head(pooling=pooling)
    ids, mask = torch.randint(5, 30, (2, 6)), torch.ones(2, 6, dtype=torch.long)
    mask[1, 3:] = 0
    together = model(ids, mask).logits
    torch.testing.assert_close(model(ids[1:, :3]).logits[0], together[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("flags", [{"freeze_layers": 1}, {"reinit_layers": 1}])
def test_there_are_no_layers(flags):
    with pytest.raises(UserError, match="more than the 0 layers"):
        prepare_layers(with_head(pooling="mean_hidden"), ModelArguments(**flags))


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("hidden_size", 0, "hidden_size 0 is less than 1"),
        ("max_ngram", 0, "max_ngram 0 is less than 1"),
        ("max_ngram", 6, "max_ngram 6 is more than 5"),
        ("num_buckets", 2**31, "num_buckets 2147483648 is more than 1073741824"),
    ],
)
def test_sizes_that_cannot_be(name, value, message):
    with pytest.raises(UserError, match=message):
        StaticConfig(**{name: value}).check_sizes()


@pytest.mark.parametrize("encoder", [BiLstmConfig(30), StaticConfig(30)])
def test_the_input_embeddings_are_the_tokens_vectors(encoder):
    """Adversarial training and a smaller vocabulary find them here."""
    model = EncoderWithHead(EncoderWithHeadConfig(encoder, [3]))
    assert model.get_input_embeddings() is model.encoder.embeddings
    fresh = torch.nn.Embedding(20, encoder.hidden_size)
    model.set_input_embeddings(fresh)
    assert model.encoder.embeddings is fresh
