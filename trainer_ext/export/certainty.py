"""How sure the verdict on INT8 is: with how many rows, and what they cannot exclude."""

from dataclasses import dataclass

from trainer_ext.export.bootstrap import CONFIDENCE, Loss
from trainer_ext.export.gate import Variant
from trainer_ext.tasks import Task


@dataclass
class Certainty:
    """What the evaluation rows and the texts without labels say of INT8, in numbers and in words.

    Attributes:
        words: the numbers below in a sentence or two.
        confidence: of each bound by itself.
        rows: with labels.
        loss_points: what was measured on them.
        loss_at_most: a loss of up to this cannot be excluded.
        changed_at_most: bound on the share of answers that differ from PyTorch's.
        texts: without labels.
        texts_source: what they are.
        texts_changed_at_most: bound on the share of their answers that differ from the float model's.
        texts_loss_at_most: on them a loss of up to this cannot be excluded by the float model's own probabilities; None
            where these cannot stand in for labels.
    """

    words: str
    confidence: float
    rows: int
    loss_points: float | None
    loss_at_most: float | None
    changed_at_most: float
    texts: int = 0
    texts_source: str = ""
    texts_changed_at_most: float | None = None
    texts_loss_at_most: float | None = None


def how_sure(variant: Variant, task: Task, allowed: float, source: str) -> Certainty | None:
    """Return how sure the verdict on a variant is; None if its loss was not measured.

    Args:
        variant: with its `loss`.
        task: of the model.
        allowed: points that may be lost.
        source: what the texts without labels are called.
    """
    loss = variant.loss
    if loss is None:
        return None
    words = [words_of_loss(loss, allowed)]
    # Every score of a regression differs a little: how many do says nothing.
    if task.has_classes:
        words.append(words_of_changes(loss, f"{loss.rows} rows", "PyTorch's"))
    certainty = Certainty(
        words="",
        confidence=CONFIDENCE,
        rows=loss.rows,
        loss_points=loss.points,
        loss_at_most=loss.high,
        changed_at_most=loss.changed_at_most,
    )
    on_texts = variant.loss_on_texts
    if on_texts is not None:
        certainty.texts = on_texts.rows
        certainty.texts_source = source
        certainty.texts_changed_at_most = on_texts.changed_at_most
        certainty.texts_loss_at_most = on_texts.high
        if task.has_classes:
            place = f"{on_texts.rows} {source}"
            words.append(words_of_changes(on_texts, place, "the float model's"))
            if on_texts.high is not None:
                words.append(
                    f"by its own probabilities at most {on_texts.high:.1f} points are lost on them"
                )
    findings = "; ".join(words)
    percent = 100 * CONFIDENCE
    certainty.words = f"{findings} ({percent:.0f}% sure of each bound)"
    return certainty


def words_of_loss(loss: Loss, allowed: float) -> str:
    """Say what a number of rows shows or cannot exclude."""
    if loss.high is None or loss.low is None:
        return f"the loss was not measured on {loss.rows} rows"
    if loss.low > max(allowed, 0.0):
        return f"with {loss.rows} rows a loss of at least {loss.low:.1f} points is shown"
    if loss.high <= allowed:
        return f"with {loss.rows} rows a loss of more than {loss.high:.1f} points is excluded"
    return f"with {loss.rows} rows a loss of up to {loss.high:.1f} points cannot be excluded"


def words_of_changes(loss: Loss, place: str, whose: str) -> str:
    """Say how many answers differ."""
    percent = 100 * loss.changed_at_most
    return (
        f"{loss.changed} of {place} get another answer than {whose}, "
        f"at most {percent:.1f}% of all such texts"
    )
