"""A bidirectional LSTM over fresh embeddings: a small student that reads a text in order."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from trainer_ext.errors import UserError


class BiLstmConfig(PretrainedConfig):
    """Sizes of the encoder.

    Args:
        vocab_size: tokens with an embedding.
        embedding_size: width of the embeddings.
        hidden_size: width of a token's state; each direction has half of it.
        embedding_dropout: dropout between the embeddings and the LSTM.
        initializer_range: standard deviation of fresh embeddings and of the head on the encoder.
    """

    model_type = "bilstm_encoder"

    def __init__(
        self,
        vocab_size: int = 8000,
        embedding_size: int = 256,
        hidden_size: int = 256,
        embedding_dropout: float = 0.3,
        initializer_range: float = 0.1,
        **kwargs: Any,
    ):
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.embedding_dropout = embedding_dropout
        self.initializer_range = initializer_range
        super().__init__(**kwargs)

    def check_sizes(self) -> None:
        """Raise `UserError` for sizes that no encoder can have."""
        if self.embedding_size < 1:
            raise UserError(
                f"config_overrides: embedding_size {self.embedding_size} is less than 1"
            )
        if self.hidden_size < 2 or self.hidden_size % 2:
            raise UserError(
                f"config_overrides: hidden_size {self.hidden_size} cannot be halved: "
                "each direction of the LSTM has half of it"
            )


class BiLstmEncoder(PreTrainedModel):
    """embeddings -> dropout -> one LSTM from the left and one from the right, side by side.

    Source: Tang et al., Distilling Task-Specific Knowledge from BERT into Simple Neural Networks (arXiv:1903.12136),
    section 3.1.

    Padding has to be on the right, as our tokenizers have it. The LSTM from the left has then read none of it at any
    token, and the one from the right reads each text turned round within its own length. Packed sequences would give
    the same states, but not an ONNX file.
    """

    config_class = BiLstmConfig  # type: ignore[assignment]
    base_model_prefix = "encoder"
    _input_embed_layer = "embeddings"

    def __init__(self, config: BiLstmConfig):
        super().__init__(config)
        width = config.hidden_size // 2
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.dropout = nn.Dropout(config.embedding_dropout)
        # Two modules and not `bidirectional=True`, which would start from the right at the padding.
        self.from_left = nn.LSTM(config.embedding_size, width, batch_first=True)
        self.from_right = nn.LSTM(config.embedding_size, width, batch_first=True)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the embeddings; torch has initialised the LSTMs."""
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
            attention_mask: (B, L); None: every token counts.
            kwargs: what transformers passes to every encoder; the output is always a BaseModelOutput.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        vectors = self.dropout(self.embeddings(input_ids))
        turned = reversed_places(attention_mask)
        from_left, _ = self.from_left(vectors)
        from_right, _ = self.from_right(reorder(vectors, turned))
        states = torch.cat([from_left, reorder(from_right, turned)], dim=-1)
        # transformers annotates FloatTensor, which no operation is declared to return.
        return BaseModelOutput(last_hidden_state=states)  # type: ignore[arg-type]


def reversed_places(mask: Tensor) -> Tensor:
    """Return the place that each token has when its text is read from the right: 2 1 0 3 for the mask 1 1 1 0.

    Padding stays where it is. Applied twice, the order is as before.

    Args:
        mask: (B, L), ones on the left.

    Returns:
        int64 (B, L).
    """
    length = mask.sum(dim=1, keepdim=True)
    places = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(places < length, length - 1 - places, places)


def reorder(vectors: Tensor, places: Tensor) -> Tensor:
    """Return the vectors (B, L, H) of each row in the order of `places` (B, L)."""
    index = places.unsqueeze(-1).expand(-1, -1, vectors.shape[-1])
    return vectors.gather(1, index)
