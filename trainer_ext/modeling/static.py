"""Vectors of tokens and n-grams, looked up and added: the fastest student, which computes no state at all."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from trainer_ext.errors import UserError

# Knuth's multiplier for hashing, a prime: 2**32 divided by the golden ratio.
MULTIPLIER = 2_654_435_761
LONGEST_NGRAM = 5
MOST_BUCKETS = 2**30  # times the multiplier still fits an int64, in torch and in ONNX


class StaticConfig(PretrainedConfig):
    """Sizes of the encoder.

    Args:
        vocab_size: tokens with a vector.
        hidden_size: width of the vectors.
        max_ngram: the longest n-grams, in tokens; 1: tokens only.
        num_buckets: vectors that all n-grams share; which one an n-gram has is a hash of its token ids.
        embedding_dropout: dropout of the states.
        initializer_range: standard deviation of fresh vectors and of the head on the encoder.
    """

    model_type = "static_encoder"

    def __init__(
        self,
        vocab_size: int = 8000,
        hidden_size: int = 64,
        max_ngram: int = 2,
        num_buckets: int = 65_536,
        embedding_dropout: float = 0.1,
        initializer_range: float = 0.1,
        **kwargs: Any,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.max_ngram = max_ngram
        self.num_buckets = num_buckets
        self.embedding_dropout = embedding_dropout
        self.initializer_range = initializer_range
        super().__init__(**kwargs)

    def check_sizes(self) -> None:
        """Raise `UserError` for sizes that no encoder can have."""
        limits = {
            "hidden_size": (1, None),
            "max_ngram": (1, LONGEST_NGRAM),
            "num_buckets": (1, MOST_BUCKETS),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if value < least:
                raise UserError(f"config_overrides: {name} {value} is less than {least}")
            if most is not None and value > most:
                raise UserError(f"config_overrides: {name} {value} is more than {most}")


class StaticEncoder(PreTrainedModel):
    """Mean of a token's vector and those of the n-grams that end at it.

    The mean of these states over a text (`--pooling mean_hidden` adds the hidden layer) is the mean of all its token
    and n-gram vectors. The n-grams of the first tokens reach over the edge of the text, which counts as padding. No
    state depends on what comes after its token, padding included.

    Source: Joulin et al., Bag of Tricks for Efficient Text Classification (arXiv:1607.01759), sections 2 and 2.2.
    """

    config_class = StaticConfig  # type: ignore[assignment]
    base_model_prefix = "encoder"
    _input_embed_layer = "embeddings"

    def __init__(self, config: StaticConfig):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.ngram_embeddings: nn.Embedding | None = None
        if config.max_ngram > 1:
            self.ngram_embeddings = nn.Embedding(config.num_buckets, config.hidden_size)
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the vectors."""
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Compute the states (B, L, hidden_size) of a batch.

        Args:
            input_ids: (B, L), padded on the right.
            attention_mask: (B, L); not read, as no state depends on padding.
            kwargs: what transformers passes to every encoder; the output is always a BaseModelOutput.
        """
        total = self.embeddings(input_ids)
        if self.ngram_embeddings is not None:
            buckets = ngram_buckets(input_ids, self.config.max_ngram, self.config.num_buckets)
            total = total + self.ngram_embeddings(buckets).sum(dim=2)
        states = self.dropout(total / self.config.max_ngram)
        return BaseModelOutput(last_hidden_state=states)


def ngram_buckets(ids: Tensor, max_ngram: int, num_buckets: int) -> Tensor:
    """Return the buckets of the n-grams of 2 to `max_ngram` tokens that end at each token.

    The bucket of the n-gram a b c is ((3 m + a) m + b) m + c modulo `num_buckets`, with m the multiplier; the order
    comes first, so that a bigram and a trigram that begins with id 0 differ.

    Args:
        ids: int64 (B, L).
        max_ngram: at least 2.
        num_buckets: at most `MOST_BUCKETS`.

    Returns:
        int64 (B, L, max_ngram - 1).
    """
    orders = []
    for order in range(2, max_ngram + 1):
        bucket = torch.full_like(ids, order)
        for distance in reversed(range(order)):
            earlier = functional.pad(ids, (distance, 0))[:, : ids.shape[1]]
            # In steps, so that no product is beyond 64 bits.
            bucket = (bucket * MULTIPLIER + earlier) % num_buckets
        orders.append(bucket)
    return torch.stack(orders, dim=2)
