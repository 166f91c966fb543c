"""Pooling: token states (B, L, H) and mask (B, L) to one vector a row (B, H)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer_ext.errors import UserError
from trainer_ext.modeling.configuration import EncoderWithHeadConfig


def cls_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Return the first token's state."""
    return states[:, 0]


def mean_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Average the tokens that are not padding."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    total = (states * weights).sum(dim=1)
    # A row without any token would divide by 0.
    count = weights.sum(dim=1).clamp(min=1)
    return total / count


def max_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Take the largest value of each feature over the tokens that are not padding."""
    padding = mask.unsqueeze(-1) == 0
    # The least finite number, not -inf: a row of padding only must not become NaN further on.
    lowest = torch.finfo(states.dtype).min
    return states.masked_fill(padding, lowest).amax(dim=1)


POOLINGS = {"cls": cls_pooling, "mean": mean_pooling, "max": max_pooling}


def pool(name: str, states: Tensor, mask: Tensor | None) -> Tensor:
    """Apply the pooling called `name`; without a mask every token counts."""
    if mask is None:
        mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
    return POOLINGS[name](states, mask)


class Pooling(nn.Module):
    """The poolings without parameters: cls, mean and max over the last layer's states."""

    uses_layers = False
    """Whether the states of all layers are needed (`output_hidden_states`)."""

    def __init__(self, config: EncoderWithHeadConfig):
        super().__init__()
        self.over_tokens = config.pooling
        self.width = config.hidden_size

    def build_head(self, head_shape: list[int]) -> nn.Module:
        """Return the module that turns the result of `forward` into the logits of a row, flat."""
        return nn.Linear(self.width, math.prod(head_shape))

    def states(self, layers: Sequence[Tensor]) -> Tensor:
        """Return one state a token (B, L, width), which a token head reads too.

        Args:
            layers: states (B, L, H): of the embeddings and each layer with `uses_layers`, of the last layer otherwise.
        """
        return layers[-1]

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Return one vector a row (B, width).

        Args:
            states: (B, L, width), from `states`.
            mask: (B, L); None: every token counts.
        """
        return pool(self.over_tokens, states, mask)


class AttentionPooling(Pooling):
    """A learned weight for each token: softmax(v . tanh(W h + b)) over the tokens that are not padding.

    Source: Yang et al., Hierarchical Attention Networks for Document Classification (NAACL 2016), eq. 5 to 7.
    """

    def __init__(self, config: EncoderWithHeadConfig):
        super().__init__(config)
        self.project = nn.Linear(self.width, self.width)
        self.score = nn.Linear(self.width, 1, bias=False)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Average the tokens with the learned weights."""
        features = torch.tanh(self.project(states))  # Eq. 5
        scores = self.score(features).squeeze(-1)
        if mask is not None:
            scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1).unsqueeze(-1)  # Eq. 6
        return (weights * states).sum(dim=1)  # Eq. 7


class MeanHidden(Pooling):
    """The mean over the tokens through one hidden layer: relu(W mean(h) + b).

    Source: with a static encoder, Joulin et al., Bag of Tricks for Efficient Text Classification (arXiv:1607.01759),
    section 2, with a non-linearity.
    """

    def __init__(self, config: EncoderWithHeadConfig):
        super().__init__(config)
        self.hidden = nn.Linear(self.width, self.width)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Average the tokens, then compute the hidden layer."""
        return torch.relu(self.hidden(pool("mean", states, mask)))


def number_of_states(config: EncoderWithHeadConfig, least: int) -> int:
    """Return how many layers' states the encoder returns.

    Raises:
        UserError: if there are fewer than the pooling needs; encoders that are no transformers have none.
    """
    if not hasattr(config.encoder, "num_hidden_layers"):
        raise UserError(
            f"pooling {config.pooling} reads the states of all layers, which encoders of the type "
            f"{config.encoder.model_type} do not return"
        )
    layers: int = config.encoder.num_hidden_layers
    if layers < least:
        raise UserError(
            f"pooling {config.pooling} needs {least} layers, but the encoder has {layers}"
        )
    return layers


class WeightedLayers(Pooling):
    """Softmax-weighted sum of the embeddings' and all layers' states (then the mean over the tokens).

    Source: Peters et al., Deep Contextualized Word Representations (arXiv:1802.05365), eq. 1, without the scale, which
    the head has. The layers start with equal weights.
    """

    uses_layers = True

    def __init__(self, config: EncoderWithHeadConfig):
        super().__init__(config)
        self.over_tokens = "mean"
        # The embeddings count as a layer.
        self.layer_scores = nn.Parameter(torch.zeros(number_of_states(config, 1) + 1))

    def states(self, layers: Sequence[Tensor]) -> Tensor:
        """Return the weighted sum over layers."""
        stacked = torch.stack(tuple(layers), dim=-1)
        weights = self.layer_scores.softmax(dim=0)
        return (stacked * weights).sum(dim=-1)


class ConcatLast4(Pooling):
    """The last four layers' states side by side, 4 H wide (then the mean over the tokens).

    Source: Devlin et al., BERT (arXiv:1810.04805), table 7, "Concat Last Four Hidden".
    """

    uses_layers = True

    def __init__(self, config: EncoderWithHeadConfig):
        super().__init__(config)
        number_of_states(config, 4)
        self.over_tokens = "mean"
        self.width = 4 * config.hidden_size

    def states(self, layers: Sequence[Tensor]) -> Tensor:
        """Return the concatenation of the last four layers."""
        return torch.cat(tuple(layers)[-4:], dim=-1)


# Poolings with parameters, or of more than the last layer; cls, mean and max are `Pooling` itself.
MODULES: dict[str, type[Pooling]] = {
    "attention": AttentionPooling,
    "mean_hidden": MeanHidden,
    "weighted_layers": WeightedLayers,
    "concat_last4": ConcatLast4,
}
