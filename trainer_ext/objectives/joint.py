"""A term on the second head: the tags of words."""

from torch import Tensor

from trainer_ext.objectives.base import Term


class SlotTerm(Term):
    """Another term, on the token head, named `slot_<name>`.

    Items are the words: the first piece of each has the label, everything else has -100. So cross entropy is averaged,
    and R-Drop's KL masked and averaged, over the words of the whole optimizer step, not over padded positions.
    """

    head = "token_labels"

    def __init__(self, term: Term) -> None:
        self.term = term
        self.name = f"slot_{term.name}"
        self.passes = term.passes
        self.takes_teacher = term.takes_teacher

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what the other term returns."""
        return self.term.sums(logits, labels)

    def total_weight(self, labels: Tensor) -> Tensor:
        """Return what the other term returns."""
        return self.term.total_weight(labels)
