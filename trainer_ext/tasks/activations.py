"""From logits to probabilities, and back."""

import numpy as np

Array = np.ndarray
"""Of any shape and type; docstrings name the shape."""

SMALLEST_PROBABILITY = 1e-12


def softmax(logits: Array) -> Array:
    """Return probabilities along the last axis, in float64 so that they sum to one."""
    # The largest logit becomes 0, so that exp cannot overflow.
    largest = logits.max(axis=-1, keepdims=True)
    shifted = logits.astype(np.float64) - largest
    weights: Array = np.exp(shifted)
    total: Array = weights.sum(axis=-1, keepdims=True)
    probabilities: Array = weights / total
    return probabilities


def sigmoid(logits: Array) -> Array:
    """Return 1 / (1 + exp(-logits)) in float64."""
    logits = logits.astype(np.float64)
    # exp is only taken of numbers below zero, so that it cannot overflow.
    numerator: Array = np.exp(np.minimum(logits, 0))
    denominator: Array = 1 + np.exp(-np.abs(logits))
    probabilities: Array = numerator / denominator
    return probabilities


def logit(probabilities: Array) -> Array:
    """Return the inverse of `sigmoid`, of probabilities that are cut off near 0 and 1."""
    p = cut_off(probabilities)
    log_odds: Array = np.log(p) - np.log1p(-p)
    return log_odds


def cut_off(probabilities: Array) -> Array:
    """Return probabilities away from 0 and 1, so that their logarithms are finite."""
    return probabilities.clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)


def one_hot(indices: Array, classes: int) -> Array:
    """Return 1 at each index (...) and 0 elsewhere: (..., classes)."""
    rows: Array = np.eye(classes)[indices]
    return rows
