"""Token states (B, L, H) and mask (B, L) to one vector a row (B, H)."""

import torch
from torch import Tensor


def cls_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """The first token's state."""
    return states[:, 0]


def mean_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that are not padding."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def max_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Largest value of each feature over the tokens that are not padding."""
    return states.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(states.dtype).min).amax(dim=1)


POOLINGS = {"cls": cls_pooling, "mean": mean_pooling, "max": max_pooling}


def pool(name: str, states: Tensor, mask: Tensor | None) -> Tensor:
    """Apply the pooling called `name`; without a mask every token counts."""
    if mask is None:
        mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
    return POOLINGS[name](states, mask)
