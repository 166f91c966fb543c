"""From logits to probabilities."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities along the last axis, in float64 so that they sum to one."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-logits)) in float64, without overflow."""
    logits = logits.astype(np.float64)
    return np.exp(np.minimum(logits, 0)) / (1 + np.exp(-np.abs(logits)))
