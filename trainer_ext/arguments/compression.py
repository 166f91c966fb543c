"""The flags of compression: what is cut out of a model before it is fine-tuned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError

STAGES = ("vocab", "layers", "width", "l1", "qat")
# By flag: the stage that reads it.
FLAGS_OF = {
    "max_vocab_size": "vocab",
    "vocab_corpus": "vocab",
    "keep_layers": "layers",
    "width": "width",
    "target_speedup": "width",
    "target_latency_ms": "width",
    "l1_sparsity": "l1",
    "l1_matrices": "l1",
    "l1_scope": "l1",
    "l1_ramp": "l1",
}


@dataclass
class CompressionArguments:
    """What is cut out, in which order, and how much."""

    _argument_group_name = "compression"

    compression: list[str] | None = option(
        None,
        "Cut the model, then fine-tune it; qat trains for INT8. In this order; several are a chain: a fine-tuning "
        "after each, then the export.",
        choices=STAGES,
    )
    stage_epochs: list[float] | None = option(
        None,
        "Epochs after each of several stages: one number, or one each; by default num_train_epochs.",
        minimum=0,
    )
    max_vocab_size: int | None = option(
        None,
        "Most pieces of the vocabulary to keep; by default those of the training texts and all characters.",
        minimum=1,
    )
    vocab_corpus: list[str] | None = option(
        None, "Text files, a text a line, whose pieces count beside those of the training texts."
    )
    keep_layers: int | None = option(None, "Number of layers to keep, evenly.", minimum=1)
    width: list[float] | None = option(
        None,
        "Share of each layer's heads and neurons to keep; several: a model of each.",
        above=0,
        maximum=1,
    )
    target_speedup: float | None = option(
        None,
        "Instead of --width: times as fast to become; sizes of layers are chosen by measured time.",
        above=1,
    )
    target_latency_ms: float | None = option(
        None,
        "Instead of --width: milliseconds a text (INT8, one thread).",
        above=0,
    )
    l1_sparsity: float = option(
        0.3, "Share of the weights that become and stay 0, the smallest.", minimum=0, maximum=1
    )
    l1_matrices: list[str] | None = option(
        None,
        "Matrices that are pruned (default: query); attention: query, key, value and output.",
        choices=("query", "attention", "feed_forward"),
    )
    l1_scope: str = option(
        "layer",
        "Rank the weights of each matrix by itself, or all together.",
        choices=("layer", "global"),
    )
    l1_ramp: float = option(
        0.0,
        "Share of the training over which the sparsity rises (cubic); 0: all at once.",
        minimum=0,
        maximum=1,
    )

    @property
    def is_chain(self) -> bool:
        """Whether a model is trained after each of several stages."""
        return len(self.compression or ()) > 1

    @property
    def has_widths(self) -> bool:
        """Whether a model of each of several widths is made."""
        return len(self.width or ()) > 1


def check_compression(
    flags: CompressionArguments,
    given: Mapping[str, Any],
    streaming: bool,
    load_best: bool,
) -> None:
    """Refuse stages in an order without sense, without what they need, and flags without their stage.

    Args:
        flags: of compression.
        given: the flags that were set.
        streaming: whether training rows are read while training.
        load_best: whether the best of all evaluated models is kept.

    Raises:
        UserError: naming the flags and their values.
    """
    # A flag without its stage is a misunderstanding, not a setting.
    stages = flags.compression or []
    for name, stage in FLAGS_OF.items():
        if name in given and getattr(flags, name) is not None and stage not in stages:
            value = given[name]
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            raise UserError(f"{name} {shown} has no effect: compression has no stage {stage}")
    if sorted(set(stages), key=STAGES.index) != stages:
        raise UserError(
            f"compression {' '.join(stages)}: stages come once each, in the order {' '.join(STAGES)}: what is cut "
            "out later need not be ranked before"
        )
    check_stage_epochs(flags)
    if "layers" in stages and flags.keep_layers is None:
        raise UserError("compression layers needs --keep_layers")
    if "vocab" in stages and streaming:
        raise UserError(
            "compression vocab counts the pieces of rows in memory, but streaming is true"
        )
    if "width" in stages:
        check_width(flags)
    if "width" in stages and streaming:
        raise UserError("compression width ranks rows in memory, but streaming is true")
    # The best model may be one that is not yet pruned.
    if "l1" in stages and flags.l1_ramp and load_best:
        raise UserError(
            f"l1_ramp {flags.l1_ramp} with load_best_model_at_end true may keep a model of before the ramp's end; "
            "drop one"
        )


def check_width(flags: CompressionArguments) -> None:
    """Refuse the stage width without its size, or with two of them.

    Raises:
        UserError: naming the flags and their values.
    """
    given = []
    if flags.width:
        given.append(f"width {shown_widths(flags)}")
    for name in ("target_speedup", "target_latency_ms"):
        if getattr(flags, name):
            given.append(f"{name} {getattr(flags, name):g}")
    if not given:
        raise UserError("compression width needs --width, --target_speedup or --target_latency_ms")
    # Each of them decides the same.
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are given, but one of them says how much is cut")


def shown_widths(flags: CompressionArguments) -> str:
    """Return the widths as they are given."""
    return " ".join(f"{width:g}" for width in flags.width or ())


def check_widths(
    flags: CompressionArguments,
    has_members: bool,
    has_validation: bool,
    push_to_hub: bool,
    checkpoint: str | None,
) -> None:
    """Refuse several widths beside what is about one model, or makes several by itself.

    Args:
        flags: of compression.
        has_members: whether folds or seeds are trained.
        has_validation: whether there are rows to compare the models on.
        push_to_hub: whether the model is uploaded.
        checkpoint: to resume from.

    Raises:
        UserError: naming what is in the way.
    """
    if not flags.has_widths:
        return
    shown = f"width {shown_widths(flags)}"
    if len(set(flags.width or ())) < len(flags.width or ()):
        raise UserError(f"{shown}: the widths must differ")
    if flags.is_chain:
        raise UserError(
            f"{shown} makes a model of each width, but compression {' '.join(flags.compression or ())} goes on with "
            "one: give one width"
        )
    if has_members:
        raise UserError(
            f"{shown} makes a model of each width, but folds or seeds are asked for: give one width"
        )
    if not has_validation:
        raise UserError(
            f"{shown} compares its models on validation rows: give --validation_file or --validation_split"
        )
    if push_to_hub:
        raise UserError(f"{shown} makes several models, but push_to_hub true uploads one")
    if str(checkpoint or "true").lower() != "true":
        raise UserError(
            f"resume_from_checkpoint {checkpoint} names one checkpoint, but {shown} makes several models: the same "
            "command again goes on with them"
        )


def check_stage_epochs(flags: CompressionArguments) -> None:
    """Refuse epochs without their stages, and stages that learn nothing where learning is all they do.

    Raises:
        UserError: naming the flags and their values.
    """
    epochs = flags.stage_epochs
    if epochs is None:
        return
    stages = flags.compression or []
    shown = f"stage_epochs {' '.join(f'{number:g}' for number in epochs)}"
    if not flags.is_chain:
        raise UserError(
            f"{shown} is for several stages of compression; for one it is num_train_epochs"
        )
    if len(epochs) not in (1, len(stages)):
        raise UserError(
            f"{shown} has {len(epochs)} numbers for the {len(stages)} stages {' '.join(stages)}: give one for all, or "
            "one each"
        )
    # One number stands for all.
    by_stage = dict(zip(stages, epochs * len(stages), strict=False))
    for stage in ("l1", "qat"):
        if by_stage.get(stage) == 0:
            raise UserError(
                f"{shown} leaves the stage {stage} no training, without which it does nothing"
            )


def check_chain(
    flags: CompressionArguments,
    has_members: bool,
    has_validation: bool,
) -> None:
    """Refuse several stages where a chain cannot run.

    Args:
        flags: of compression.
        has_members: whether folds or seeds are trained.
        has_validation: whether there are rows to compare the stages on.

    Raises:
        UserError: naming what is in the way.
    """
    if not flags.is_chain:
        return
    shown = f"compression {' '.join(flags.compression or ())}"
    if has_members:
        raise UserError(
            f"{shown} makes one model, but folds or seeds are asked for: compress one after the other"
        )
    if not has_validation:
        raise UserError(
            f"{shown} compares its stages on validation rows: give --validation_file or --validation_split"
        )
