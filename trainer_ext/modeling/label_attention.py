"""Label-wise attention: each label looks at the places of a text that speak of it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.pooling import Pooling

KERNEL = 5
WIDENING = 2  # features a place, relative to the encoder's width


class LabelAttention(Pooling):
    """Features of five neighbouring tokens, and for each label an attention of its own over them.

        h_n = tanh(W [x_(n-2) ... x_(n+2)] + b),  a_l = softmax(h u_l),  v_l = sum_n a_ln h_n

    A mean over the text mixes what is said of all aspects; here each label (aspect, class, target) has a vector of its
    own, and a head of its own reads it (`LabelHead`). Phrases of a few tokens are features from the start, which an
    encoder from scratch learns late or, with few rows, never.

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
        """A head for each label."""
        return LabelHead(head_shape, self.features)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """One vector a label (B, labels, features)."""
        if mask is not None:
            states = states * mask.unsqueeze(-1).to(
                states.dtype
            )  # what is beyond the end is zero, padded or not
        features = torch.tanh(self.convolve(neighbours(states)))
        scores = self.score(features)
        if mask is not None:
            scores = scores.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=1).transpose(1, 2) @ features


def neighbours(states: Tensor) -> Tensor:
    """The states of `KERNEL` tokens around each, side by side: (B, L, H) -> (B, L, KERNEL H); zeros beyond the ends."""
    length = states.shape[1]
    padded = F.pad(states, (0, 0, KERNEL // 2, KERNEL // 2))
    return torch.cat([padded[:, start : start + length] for start in range(KERNEL)], dim=-1)


class LabelHead(nn.Module):
    """Weights of its own for each label: (B, labels, features) -> (B, outputs of all labels).

    Args:
        head_shape: labels, then the outputs of each ([18, 4]; [28]: one each).
        features: width of a label's vector.
    """

    def __init__(self, head_shape: list[int], features: int):
        super().__init__()
        labels, *outputs = head_shape
        each = outputs[0] if outputs else 1
        self.weight = nn.Parameter(torch.zeros(labels, each, features))
        self.bias = nn.Parameter(torch.zeros(labels, each))

    def forward(self, vectors: Tensor) -> Tensor:
        """The logits, flat."""
        return ((vectors.unsqueeze(2) * self.weight).sum(dim=-1) + self.bias).flatten(start_dim=1)
