"""Distillation: a student learns the teacher's labels (hard) or its probabilities (soft), for each kind of head.

A term here takes the teacher's stored values (B, ..., C) in place of labels. For hard distillation of classes they are
1 for what the teacher answers and 0 elsewhere, otherwise its logits (in regression its scores). They are NaN for items
that the teacher has not read, which do not count. A row whose true label is missing counts: the teacher answers it.
"""

from abc import abstractmethod

from torch import Tensor
from torch.nn import functional as F

from trainer_ext.objectives.base import ElementTerm, Term


def soft_divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(p || q) for each item, with p = softmax(teacher / T) and q = softmax(logits / T).

    Source: Hinton et al., Distilling the Knowledge in a Neural Network (arXiv:1503.02531), section 2: gradients of the
    soft targets scale as 1 / T^2, hence the factor. Cross entropy with p, as written there, has the same gradient.

    Args:
        logits: (..., C), of the student.
        teacher: (..., C), logits.
        temperature: T, above 0.

    Returns:
        (...), in nats; 0 if both are equal.
    """
    log_p = F.log_softmax(teacher / temperature, dim=-1)
    log_q = F.log_softmax(logits / temperature, dim=-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(dim=-1)
    return temperature**2 * divergence


def soft_bernoulli_divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(p || q) for each entry, between Bernoulli distributions: p = sigmoid(teacher / T), q likewise.

    Source: as `soft_divergence`; classes that do not exclude each other have a distribution each.

    Args:
        logits, teacher: (..., C).
        temperature: T, above 0.

    Returns:
        (..., C), in nats; 0 if both are equal.
    """
    teacher, logits = teacher / temperature, logits / temperature
    # Of the log: probabilities themselves may be rounded to 0.
    positive = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(logits))
    negative = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-logits))
    return temperature**2 * (positive + negative)


def answered(teacher: Tensor) -> Tensor:
    """Return which items (B, ...) the teacher has read."""
    return teacher.isfinite().all(dim=-1)


class TeacherItemTerm(Term):
    """A mean over the items that the teacher has read, and over passes; for classes that exclude each other."""

    takes_teacher = True

    @abstractmethod
    def items(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss (K, N) of each item, given logits (K, N, C) and the teacher's values (N, C)."""

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over items, averaged over passes."""
        is_answered = answered(labels)
        losses = self.items(logits[:, is_answered], labels[is_answered].to(logits))
        return losses.sum() / logits.shape[0]

    def total_weight(self, labels: Tensor) -> Tensor:
        """Return the number of items that the teacher has read."""
        return answered(labels).sum().float()


class DistillSoftTerm(TeacherItemTerm):
    """Softmax heads (rows, aspects, words): mean of `soft_divergence`.

    Args:
        temperature: T, above 0.
    """

    name = "distill_soft"

    def __init__(self, temperature: float):
        self.temperature = temperature

    def items(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Return T^2 KL of each item."""
        return soft_divergence(logits, teacher, self.temperature)


class DistillHardTerm(TeacherItemTerm):
    """Softmax heads (rows, aspects, words): mean cross entropy with the teacher's labels."""

    name = "distill_hard"

    def items(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Return the cross entropy of each item."""
        log_q = F.log_softmax(logits, dim=-1)
        index = teacher.argmax(dim=-1, keepdim=True).expand(*log_q.shape[:-1], 1)
        return -log_q.gather(-1, index).squeeze(-1)


class BernoulliDistillSoftTerm(ElementTerm):
    """Multi-label: mean of `soft_bernoulli_divergence` over rows and classes (as BCE takes its mean).

    Args:
        temperature: T, above 0.
    """

    name = "distill_soft"
    takes_teacher = True

    def __init__(self, temperature: float):
        self.temperature = temperature

    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return T^2 KL of each entry."""
        return soft_bernoulli_divergence(logits, labels, self.temperature)


class BernoulliDistillHardTerm(ElementTerm):
    """Multi-label: mean binary cross entropy with the teacher's labels, over rows and classes."""

    name = "distill_hard"
    takes_teacher = True

    def elements(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the binary cross entropy of each entry."""
        return F.binary_cross_entropy_with_logits(
            logits, labels.expand_as(logits), reduction="none"
        )


def learned_from_teacher(term: Term, distill: str) -> Term:
    """Return a task's own term, given the teacher's scores in place of the labels.

    Scores have no probabilities: soft and hard are the same. The distance is that to the true scores, so that
    `distill_alpha` weighs two things of one unit.

    Args:
        term: of a regression; changed in place.
        distill: hard or soft.
    """
    term.takes_teacher = True
    term.name = f"distill_{distill}"
    return term
