"""How well out-of-domain scores tell which texts a model should not answer, and the choice of one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer_ext.errors import UserError
from trainer_ext.tasks import Task
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tasks.rejection import fit_threshold

Array = np.ndarray


@dataclass(frozen=True)
class Judged:
    """One score, as it is on validation rows and, if there are some, on texts of another domain.

    Attributes:
        score: one of `OOD_SCORES`.
        threshold: above which a text is rejected.
        validation: scores (N,) of the validation rows.
        right: (N,) whether the model's answer to each is right as a whole.
        ood: scores (M,) of the texts of another domain; None without any.
    """

    score: str
    threshold: float
    validation: Array
    right: Array
    ood: Array | None

    @property
    def risks(self) -> Array:
        """Return the share of wrong answers (N,) among the 1, 2, ... N least strange validation rows."""
        order = np.argsort(self.validation, kind="stable")
        wrong = np.cumsum(~self.right[order])
        risks: Array = wrong / np.arange(1, len(order) + 1)
        return risks

    def to_dict(self) -> dict[str, Any]:
        """Return what reject.json holds of the score.

        `aurc` is the area under the risk-coverage curve (Geifman et al. 2019, arXiv:1805.08206, section 2): the mean
        share of wrong answers over all numbers of rows answered; less is better.
        """
        # At least one row: the threshold is itself a score that occurs.
        answered = self.validation <= self.threshold
        found: dict[str, Any] = {
            "score": self.score,
            "threshold": self.threshold,
            "validation_rejected": float(1 - answered.mean()),
            "validation_risk": float(1 - self.right.mean()),
            "validation_risk_answered": float(1 - self.right[answered].mean()),
            "aurc": float(self.risks.mean()),
        }
        if self.ood is not None:
            found["ood_rejected"] = float((self.ood > self.threshold).mean())
            found["ood_auroc"] = auroc(self.validation, self.ood)
            found["ood_fpr95"] = false_answers(self.validation, self.ood)
        return found


def judge(
    task: Task,
    scored: ScoredRows,
    own: Mapping[str, Array],
    strange: Mapping[str, Array] | None,
    rate: float,
) -> list[Judged]:
    """Return each score with the threshold that rejects at most a share of the validation rows.

    Args:
        task: of the model.
        scored: the validation rows.
        own: scores (N,) of these rows, by name.
        strange: scores (M,) of texts of another domain, by name; None without any.
        rate: that share.
    """
    # Of aspects all must be right, as of several labels.
    true, predicted = task.true_and_predicted(scored)
    right = (true == predicted).reshape(len(true), -1).all(axis=1)
    found = []
    for score, validation in own.items():
        ood = None if strange is None else strange[score]
        found.append(Judged(score, fit_threshold(validation, rate), validation, right, ood))
    return found


def choose(every: Sequence[Judged], wanted: str) -> Judged:
    """Return one of several judged scores.

    Args:
        every: to choose among.
        wanted: the name of one; or auto: with texts of another domain the one with the largest AUROC, else the one with
            the smallest area under the risk-coverage curve.

    Raises:
        UserError: for one that this model does not have.
    """

    def loss(judged: Judged) -> float:
        found = judged.to_dict()
        return float(-found["ood_auroc"] if "ood_auroc" in found else found["aurc"])

    if wanted == "auto":
        return min(every, key=loss)
    for judged in every:
        if judged.score == wanted:
            return judged
    raise UserError(f"reject {wanted} needs one vector a text, but pooling is label_attention")


def auroc(validation: Array, ood: Array) -> float:
    """Return the probability that a text of another domain has a higher score than a validation row."""
    # Here: training without --reject need not wait for it.
    from sklearn.metrics import roc_auc_score

    is_ood = np.repeat([0, 1], [len(validation), len(ood)])
    return float(roc_auc_score(is_ood, np.concatenate([validation, ood])))


def false_answers(validation: Array, ood: Array) -> float:
    """Return the share of texts of another domain that are answered where 95% of the validation rows are."""
    return float((ood <= fit_threshold(validation, 0.05)).mean())
