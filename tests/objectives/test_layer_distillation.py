"""Distances between layers: the papers' equations in numpy, padding, and equality under accumulation."""

import numpy as np
import torch

from trainer_ext.objectives.base import Objective
from trainer_ext.objectives.layer_distillation import (
    TokenTerm,
    hidden_distance,
    relation_divergence,
    scaled_products,
    score_distance,
)

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
LENGTHS = (5, 3)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(values: np.ndarray) -> np.ndarray:
    exponents = np.exp(values - values.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def test_hidden_states_closed_form():
    # (1 + 4) / 2 and (0 + 9) / 2
    student, teacher = (
        torch.tensor([[[1.0, 2.0], [3.0, 1.0]]]),
        torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]),
    )
    assert hidden_distance(student, teacher).tolist() == [[2.5, 4.5]]


def test_attention_scores_as_tinybert_writes_them():
    query, key = draw(2, 5, 6, seed=1), draw(2, 5, 6, seed=2)
    others = draw(2, 5, 8, seed=3), draw(2, 5, 8, seed=4)
    scores, expected = scaled_products(query, key, 2), scaled_products(*others, 2)
    distances = score_distance(scores, expected, MASK)
    for row, length in enumerate(LENGTHS):
        # Eq. 7: 1 / h sum_i MSE(A_i^S, A_i^T), of the text alone
        total = 0.0
        for head in range(2):
            own, width = slice(3 * head, 3 * head + 3), slice(4 * head, 4 * head + 4)
            q, k = query[row, :length, own].numpy(), key[row, :length, own].numpy()
            p, r = (values[row, :length, width].numpy() for values in others)
            total += ((q @ k.T / np.sqrt(3) - p @ r.T / np.sqrt(4)) ** 2).mean() / 2
        np.testing.assert_allclose(distances[row, :length].mean(), total, rtol=1e-5)


def test_relations_as_minilm_writes_them():
    student, teacher = draw(2, 5, 6, seed=5), draw(2, 5, 12, seed=6)
    divergences = relation_divergence(
        scaled_products(student, student, 3), scaled_products(teacher, teacher, 3), MASK
    )
    for row, length in enumerate(LENGTHS):
        total = 0.0
        for head in range(3):
            own = student[row, :length, 2 * head : 2 * head + 2].numpy()
            others = teacher[row, :length, 4 * head : 4 * head + 4].numpy()
            q = softmax(own @ own.T / np.sqrt(2))
            p = softmax(others @ others.T / np.sqrt(4))
            total += (p * np.log(p / q)).sum() / (3 * length)
        np.testing.assert_allclose(divergences[row, :length].mean(), total, rtol=1e-4)


def test_gradients_are_finite_beside_padding():
    student = draw(2, 5, 6, seed=7).requires_grad_()
    relation = scaled_products(student, student, 2)
    divergence = relation_divergence(relation, torch.zeros_like(relation), MASK)
    score_distance(relation, torch.zeros_like(relation), MASK).sum().add(
        divergence.sum()
    ).backward()
    assert student.grad.isfinite().all()


def test_padding_does_not_count_and_micro_batches_add_up():
    term = TokenTerm("distill_hidden")
    objective = Objective(((2.0, term),))
    values = draw(3, 2, 5, seed=8)
    labels = {"attention_mask": MASK}
    loss, _ = objective({"distill_hidden": values}, labels)
    expected = 2 * (values[:, 0].sum() + values[:, 1, :3].sum()) / (3 * 8)
    torch.testing.assert_close(loss, expected)
    step = objective.total_weights(labels)
    parts = []
    for row in range(2):
        own = {"distill_hidden": values[:, row : row + 1]}
        parts.append(objective(own, {"attention_mask": MASK[row : row + 1]}, step)[0])
    torch.testing.assert_close(sum(parts), loss)
