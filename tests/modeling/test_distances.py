"""Distances to class means: against SciPy, and finite whatever the vectors are."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from trainer_ext.modeling.distances import FARTHEST, fit_distances

RNG = np.random.default_rng(0)
MIXED = RNG.normal(size=(6, 6))
LABELS = np.arange(90) % 3
VECTORS = (RNG.normal(size=(90, 6)) @ MIXED + LABELS[:, None] * 4).astype(np.float32)


def test_distances_are_those_of_scipy():
    module = fit_distances(VECTORS, LABELS)
    means = np.array([VECTORS[k == LABELS].mean(axis=0) for k in range(3)])
    shrunk = LedoitWolf(assume_centered=True).fit(VECTORS - means[LABELS])
    inverse = np.linalg.inv(shrunk.covariance_)
    texts = RNG.normal(size=(5, 6)).astype(np.float32) * 9
    expected = [min(mahalanobis(text, mean, inverse) ** 2 for mean in means) for text in texts]
    assert module(torch.from_numpy(texts))[:, 0].numpy() == pytest.approx(expected, rel=1e-3)


def test_a_direction_without_variance_and_one_far_away_stay_finite():
    flat = VECTORS.copy()
    flat[:, 2] = 1.5
    module = fit_distances(flat, LABELS)
    assert torch.isfinite(module(torch.from_numpy(flat))).all()
    assert module(torch.full((1, 6), 1e6)).item() == FARTHEST
