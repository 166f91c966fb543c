"""Label-wise attention: each label attends to the tokens that are about it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.pooling import Pooling

KERNEL = 5  # tokens that a feature sees
WIDENING = 2  # features of a token, relative to the encoder's width


class LabelAttention(Pooling):
    """Features of five neighbouring tokens, and for each label an attention of its own over them.

        h_n = tanh(W [x_(n-2) ... x_(n+2)] + b),  a_l = softmax(h u_l),  v_l = sum_n a_ln h_n

    A mean over the text mixes all aspects; here each label (aspect, class, target) has a vector and a head of its own
    (`LabelHead`). Phrases of a few tokens are features from the start, which an encoder from scratch learns late or,
    with few rows, never.

    Source: Mullenbach et al., Explainable Prediction of Medical Codes from Clinical Text (arXiv:1802.05695), eq. 1
    to 4. The convolution is written as a product of the neighbours side by side, which INT8 quantises as any other.
    """

    def __init__(self, config: EncoderWithHeadConfig):
        super().__init__(config)
        self.labels = config.head_shape[0]
        self.features = WIDENING * self.width
        self.convolve = nn.Linear(KERNEL * self.width, self.features)
        self.score = nn.Linear(self.features, self.labels, bias=False)

    def build_head(self, head_shape: list[int]) -> nn.Module:
        """Return a head for each label."""
        return LabelHead(head_shape, self.features)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Return one vector a label (B, labels, features)."""
        if mask is not None:
            # A text's last tokens must see zeros beyond the end, in a batch with longer texts as alone.
            states = states * mask.unsqueeze(-1).to(states.dtype)
        features = torch.tanh(self.convolve(neighbours(states)))
        scores = self.score(features)
        if mask is not None:
            lowest = torch.finfo(scores.dtype).min
            scores = scores.masked_fill(mask.unsqueeze(-1) == 0, lowest)
        attention = scores.softmax(dim=1)
        return attention.transpose(1, 2) @ features


def neighbours(states: Tensor) -> Tensor:
    """Put the states of the `KERNEL` tokens around each one side by side; beyond the ends are zeros.

    Args:
        states: (B, L, H).

    Returns:
        (B, L, KERNEL * H).
    """
    length = states.shape[1]
    margin = KERNEL // 2
    padded = F.pad(states, (0, 0, margin, margin))
    shifted = [padded[:, start : start + length] for start in range(KERNEL)]
    return torch.cat(shifted, dim=-1)


class LabelHead(nn.Module):
    """A linear layer of its own for each label: (B, labels, features) -> (B, outputs of all labels).

    Args:
        head_shape: labels, then the outputs of each ([18, 4]; [28]: one each).
        features: width of a label's vector.
    """

    def __init__(self, head_shape: list[int], features: int):
        super().__init__()
        labels = head_shape[0]
        outputs = head_shape[1] if len(head_shape) > 1 else 1
        # EncoderWithHead initialises them, as every head.
        self.weight = nn.Parameter(torch.zeros(labels, outputs, features))
        self.bias = nn.Parameter(torch.zeros(labels, outputs))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the logits, flat."""
        logits = (vectors.unsqueeze(2) * self.weight).sum(dim=-1) + self.bias
        return logits.flatten(start_dim=1)
