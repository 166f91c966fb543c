"""Distillation inside an encoder: a student's hidden states and attention become those of its teacher's layers.

What two layers differ by is measured for each token; `TokenTerm` takes the mean over the tokens of an optimizer step.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import Term

HIDDEN = "distill_hidden"
ATTENTION = "distill_attention"
TOKENS = "attention_mask"


def hidden_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of two states, for each token.

    Source: Jiao et al., TinyBERT (arXiv:1909.10351), eq. 8 (hidden states) and 9 (embeddings); the student's are
    projected to the teacher's width before.

    Args:
        student, teacher: (..., L, H).

    Returns:
        (..., L).
    """
    return ((student - teacher) ** 2).mean(dim=-1)


def scaled_products(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """Return the products of each two tokens' vectors by head, divided by the root of a head's width.

    Of queries and keys these are attention scores before the softmax.

    Args:
        left, right: (..., L, heads * D).
        heads: into how many the vectors are divided.

    Returns:
        (..., heads, L, L).
    """
    width = left.shape[-1] // heads
    by_head = left.reshape(*left.shape[:-1], heads, width).transpose(-2, -3)
    others = right.reshape(*right.shape[:-1], heads, width).transpose(-2, -3)
    return by_head @ others.transpose(-1, -2) / math.sqrt(width)


def score_distance(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared difference of attention scores over heads and tokens attended to, for each token.

    Source: TinyBERT, eq. 7: of scores, not of the probabilities that softmax makes of them.

    Args:
        student, teacher: (..., B, heads, L, L).
        mask: (B, L), 1 for tokens of the text.

    Returns:
        (..., B, L).
    """
    of_keys = ((student - teacher) ** 2).mean(dim=-3)
    is_token = mask[:, None, :].to(of_keys)
    return (of_keys * is_token).sum(dim=-1) / is_token.sum(dim=-1).clamp(min=1)


def relation_divergence(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return KL(softmax(teacher) || softmax(student)) over tokens attended to, the mean over heads, for each token.

    Source: Wang et al., MiniLMv2 (arXiv:2012.15828), section 3.1: of one kind of relation.

    Args:
        student, teacher: (..., B, relation heads, L, L), of `scaled_products`.
        mask: (B, L), 1 for tokens of the text.

    Returns:
        (..., B, L), in nats.
    """
    is_padding = (mask == 0)[:, None, None, :]
    lowest = torch.finfo(student.dtype).min
    log_p = F.log_softmax(teacher.masked_fill(is_padding, lowest), dim=-1)
    log_q = F.log_softmax(student.masked_fill(is_padding, lowest), dim=-1)
    # Both are about the lowest number at padding, where p is 0.
    of_keys = (log_p.exp() * (log_p - log_q)).masked_fill(is_padding, 0.0)
    return of_keys.sum(dim=-1).mean(dim=-2)


class TokenTerm(Term):
    """The mean over the tokens of all texts, and over passes, of what was measured for each.

    Args:
        name: of the term, and of its values (K, B, L) among the logits.
    """

    def __init__(self, name: str):
        self.name = name
        self.head = name

    @property
    def target(self) -> str:
        """What tells tokens from padding, by its name in a batch."""
        return TOKENS

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over tokens, averaged over passes.

        Args:
            logits: (K, B, L), of each token.
            labels: (B, L), 1 for tokens of the text.
        """
        return (logits * labels).sum() / logits.shape[0]

    def total_weight(self, labels: Tensor) -> Tensor:
        """Return the number of tokens."""
        return labels.sum().float()
