"""The flags of distillation: learning from a teacher's answers beside the true labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.students import LAYERS
from trainer_ext.errors import UserError

NEEDS_DISTILL = (
    "teacher",
    "distill_alpha",
    "distill_temperature",
    "unlabelled_file",
    "pseudo_label_threshold",
    "distill_hidden_weight",
    "distill_attention_weight",
    "distill_layer_map",
)


@dataclass
class DistillationArguments:
    """The teacher, and how much its answers count."""

    _argument_group_name = "distillation"

    teacher: list[str] | None = option(
        None, "Model to learn from: a folder of train.py or export.py; several are an ensemble."
    )
    distill: str = option(
        "none",
        "What is learned from the teacher: its labels (hard) or its probabilities (soft).",
        choices=("none", "hard", "soft"),
    )
    distill_alpha: float = option(
        0.5, "Weight of the teacher's term; the true labels' is 1 minus it.", minimum=0, maximum=1
    )
    distill_temperature: float = option(
        2.0, "Divides both models' logits in soft distillation.", above=0
    )
    unlabelled_file: list[str] | None = option(
        None,
        "Files of texts that are learned from the teacher's answers alone; txt is a text a line.",
    )
    pseudo_label_threshold: float = option(
        0.0,
        "With --distill hard: leave out unlabelled texts that the teacher is less sure of; 0: none.",
        minimum=0,
        maximum=1,
    )

    distill_hidden_weight: float = option(
        0.0,
        "Weight of the distance between the hidden states of student and teacher; 0: off.",
        minimum=0,
    )
    distill_attention_weight: float = option(
        0.0, "Weight of the distance between their attention; 0: off.", minimum=0
    )
    distill_layer_map: list[int] | None = option(
        None,
        "The teacher's layer that each layer of the student learns from (default: evenly).",
        minimum=0,
    )

    @property
    def compares_layers(self) -> bool:
        """Whether layers of the teacher are learned from."""
        return bool(self.distill_hidden_weight or self.distill_attention_weight)

    @property
    def layer_flag(self) -> str:
        """The flag, with its value, for which layers of the teacher are needed."""
        if self.distill_hidden_weight:
            return f"distill_hidden_weight {self.distill_hidden_weight:g}"
        return f"distill_attention_weight {self.distill_attention_weight:g}"

    @property
    def teacher_weight(self) -> float:
        """The weight of the teacher's term; 0 without distillation."""
        return 0.0 if self.distill == "none" else self.distill_alpha


def check_distillation(
    distillation: DistillationArguments,
    given: Mapping[str, Any],
    has_classes: bool,
    streaming: bool,
    is_chain: bool,
) -> None:
    """Refuse distillation without a teacher, and flags that have no effect.

    Args:
        distillation: the flags.
        given: those that were set.
        has_classes: whether the task's labels are classes, as opposed to numbers.
        streaming: whether training rows are read while training.
        is_chain: whether a model is compressed in several stages, whose start is the teacher if no other is given.

    Raises:
        UserError: naming the flags and their values.
    """
    distill = distillation.distill
    if distill == "none":
        check_none_given(distillation, given)
        return
    if not distillation.teacher and not is_chain:
        raise UserError(f"distill {distill} needs a teacher: give --teacher DIR")
    if streaming:
        raise UserError(
            f"distill {distill} computes the teacher's answers once, for rows in memory, but streaming is true"
        )
    check_unlabelled(distillation, given, has_classes)
    temperature = f"distill_temperature {distillation.distill_temperature}"
    if "distill_temperature" not in given:
        return
    if distill == "hard":
        raise UserError(f"{temperature} has no effect: distill hard learns labels; drop one")
    if not has_classes:
        raise UserError(f"{temperature} is for classes, but the task has none: drop it")


def check_unlabelled(
    distillation: DistillationArguments,
    given: Mapping[str, Any],
    has_classes: bool,
) -> None:
    """Refuse rows without labels that nothing is learned from, and a threshold that nothing is measured by."""
    files = " ".join(distillation.unlabelled_file or ())
    if files and not distillation.teacher_weight:
        raise UserError(
            f"unlabelled_file {files} has no effect: distill_alpha is 0, and the teacher's term is all that such rows "
            "are trained with"
        )
    if "pseudo_label_threshold" not in given:
        return
    threshold = f"pseudo_label_threshold {distillation.pseudo_label_threshold:g}"
    if not files:
        raise UserError(f"{threshold} has no effect: there is no unlabelled_file")
    if distillation.distill != "hard":
        raise UserError(f"{threshold} chooses labels (--distill hard), but distill is soft")
    if not has_classes:
        raise UserError(f"{threshold} is for classes, but the task has none: drop it")


def check_layer_terms(
    distillation: DistillationArguments,
    from_scratch: str,
    stages: Sequence[str],
) -> None:
    """Refuse terms between layers for students that have none, several teachers, or tokens that cannot be compared.

    Args:
        distillation: the flags.
        from_scratch: the student's kind, or none.
        stages: of compression.

    Raises:
        UserError: naming both flags and both values.
    """
    if not distillation.compares_layers:
        if distillation.distill_layer_map:
            shown = " ".join(map(str, distillation.distill_layer_map))
            raise UserError(
                f"distill_layer_map {shown} has no effect: distill_hidden_weight and distill_attention_weight are 0"
            )
        return
    flag = distillation.layer_flag
    if not distillation.teacher_weight:
        raise UserError(
            f"{flag} goes with the teacher's own term, but distill_alpha is 0: give a small one"
        )
    teachers = distillation.teacher or []
    if len(teachers) > 1:
        raise UserError(
            f"{flag} compares layers with those of one teacher, but teacher names {len(teachers)}"
        )
    if from_scratch in LAYERS:
        raise UserError(f"{flag} is for transformers, but from_scratch {from_scratch} is none")
    # In a chain the stages after it learn from its model.
    if list(stages) == ["vocab"]:
        raise UserError(
            f"{flag} needs the teacher's tokenizer, of which compression vocab keeps a part; drop one"
        )


def check_none_given(distillation: DistillationArguments, given: Mapping[str, Any]) -> None:
    """Raise `UserError` for a flag of distillation that was set without `distill`."""
    for name in NEEDS_DISTILL:
        value = getattr(distillation, name)
        if name in given and value is not None:
            shown = " ".join(value) if isinstance(value, list) else value
            raise UserError(
                f"{name} {shown} has no effect: distill is none (--distill hard or soft; to train without the "
                "teacher's term, --distill_alpha 0)"
            )
