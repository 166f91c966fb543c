"""How far a pooled vector is from what a model was trained on, as a part of the model: exports have it, too."""

import numpy as np
import torch
from torch import Tensor, nn

# Of a text without a near class; as large as a distance gets in 16 bits, too.
FARTHEST = 60_000.0


class ClassDistances(nn.Module):
    """The squared Mahalanobis distance to the nearest of several means, with one covariance for all.

    Source: Lee et al. 2018, arXiv:1807.03888, eq. 2 (there negated).

    Args:
        classes: how many means K.
        width: of a vector, W.
    """

    whitening: Tensor
    means: Tensor

    def __init__(self, classes: int, width: int):
        super().__init__()
        # Vectors times this matrix have the unit matrix as their covariance; the means are multiplied already.
        self.register_buffer("whitening", torch.zeros(width, width))
        self.register_buffer("means", torch.zeros(classes, width))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the distance (B, 1) of each vector (B, W)."""
        whitened = torch.matmul(vectors, self.whitening)
        differences = whitened.unsqueeze(1) - self.means
        nearest = (differences * differences).sum(dim=-1).amin(dim=-1, keepdim=True)
        return nearest.clamp(max=FARTHEST)


def fit_distances(vectors: np.ndarray, labels: np.ndarray) -> ClassDistances:
    """Return the distances to the means of the classes.

    The covariance is shrunk (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4): a few thousand rows do not
    determine a matrix of 384 x 384.

    Args:
        vectors: (N, W) of training rows.
        labels: class indices (N,); all 0 where a row has no one class.
    """
    from sklearn.covariance import ledoit_wolf

    vectors = vectors.astype(np.float64)
    classes, indices = np.unique(labels, return_inverse=True)
    means = np.stack([vectors[indices == k].mean(axis=0) for k in range(len(classes))])
    covariance, _ = ledoit_wolf(vectors - means[indices], assume_centered=True)
    values, directions = np.linalg.eigh(covariance)
    # A direction in which nothing varies would count infinitely.
    values = np.maximum(values, 1e-6 * values.max())
    whitening = directions / np.sqrt(values)
    module = ClassDistances(*means.shape)
    module.whitening.copy_(torch.from_numpy(whitening))
    module.means.copy_(torch.from_numpy(means @ whitening))
    return module
