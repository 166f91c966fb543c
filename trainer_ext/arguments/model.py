"""The flags of the encoder and the head on it."""

from dataclasses import dataclass

from trainer_ext.arguments.compression import CompressionArguments
from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError
from trainer_ext.tasks.ood_scores import OOD_SCORES

SCRATCH_SIZES = ("none", "tiny", "mini", "small", "tinybert_4l", "tinybert_6l", "bilstm", "static")
CALIBRATIONS = ("none", "temperature", "thresholds", "both")
REJECT = ("none", "auto", *OOD_SCORES)
POOLINGS = (
    "cls",
    "mean",
    "max",
    "attention",
    "mean_hidden",
    "weighted_layers",
    "concat_last4",
    "label_attention",
)


@dataclass
class ModelArguments(CompressionArguments):
    """Which encoder, and the head on it."""

    _argument_group_name = "encoder and head"

    model_name_or_path: str | None = option(
        None, "Pretrained encoder (hub name or folder), or a checkpoint of this project."
    )
    from_scratch: str = option(
        "none",
        "Build the encoder from a config and train its vocabulary on the training texts: a BERT of a named size, or "
        "a student (bilstm: an LSTM in both directions; static: vectors of tokens and n-grams).",
        choices=SCRATCH_SIZES,
    )
    config_overrides: str | None = option(
        None,
        "Encoder config values, e.g. hidden_size=256,num_hidden_layers=3; of a pretrained encoder only "
        "dropout and fewer layers, e.g. hidden_dropout_prob=0,num_hidden_layers=4.",
    )
    vocab_size: int = option(8000, "Largest vocabulary trained with --from_scratch.", minimum=16)
    embeddings_from: str | None = option(
        None,
        "With --from_scratch: take tokenizer and word embeddings of this encoder (such as the teacher).",
    )
    # None and not cls: a checkpoint keeps its own unless another one is asked for.
    pooling: str | None = option(
        None,
        "How token states are pooled into one vector; default: cls (bilstm: attention; static: mean_hidden), and a "
        "checkpoint of this project keeps its own.",
        choices=POOLINGS,
    )
    head_dropout: float = option(0.1, "Dropout before the head.", minimum=0, maximum=1)
    head_init: str = option(
        "normal",
        "How a head starts: with small random weights, or (regression) as ridge regression.",
        choices=("normal", "ridge"),
    )
    calibrate: str = option(
        "none", "Calibration fitted on the validation rows after training.", choices=CALIBRATIONS
    )
    reject: str = option(
        "none",
        "Fit on the validation rows from which out-of-domain score on a text is rejected; auto: the score that tells "
        "the rows of --ood_file best, or without one the wrong answers.",
        choices=REJECT,
    )
    reject_rate: float = option(
        0.05,
        "With --reject: the share of validation rows that may be rejected.",
        minimum=0,
        maximum=0.5,
    )
    multi_sample_dropout: int = option(
        1, "Train the head on this many dropout masks of each vector; 1: off.", minimum=1
    )
    reinit_layers: int = option(
        0, "Re-initialise the top N layers of a pretrained encoder.", minimum=0
    )
    freeze_embeddings: bool = option(False, "Do not train the embeddings.")
    freeze_layers: int = option(0, "Do not train the lowest N encoder layers.", minimum=0)
    ignore_mismatched_sizes: bool = option(
        False, "Take only the encoder from a checkpoint of other labels, another task or pooling."
    )
    trust_remote_code: bool = option(False, "Run code shipped with a hub model.")


def check_model(model: ModelArguments, do_train: bool) -> None:
    """Check that the encoder comes from one source, and that no flag is without effect.

    Raises:
        UserError: naming both flags and both values.
    """
    from_scratch = model.from_scratch != "none"
    # A recipe may have one and the command line the other: `overridden` in recipe.py has settled that case.
    if from_scratch and model.model_name_or_path:
        raise UserError(
            f"from_scratch {model.from_scratch} and model_name_or_path {model.model_name_or_path} are both given; "
            "drop one (--from_scratch none switches a recipe's off)"
        )
    if do_train and not from_scratch and not model.model_name_or_path:
        sizes = "|".join(SCRATCH_SIZES[1:])
        raise UserError(f"no encoder: give --model_name_or_path, or --from_scratch {sizes}")
    if model.embeddings_from and not from_scratch:
        raise UserError(
            f"embeddings_from {model.embeddings_from} has no effect: from_scratch is none, so the encoder has its own"
        )
    # Each label attends to tokens of its own, so there is no one vector that a ridge regression could take.
    if model.head_init == "ridge" and model.pooling == "label_attention":
        raise UserError(
            "head_init ridge fits one linear head, but pooling label_attention has one for each label"
        )
    # Without dropout all masks are the same.
    if model.multi_sample_dropout > 1 and not model.head_dropout:
        raise UserError(
            f"multi_sample_dropout {model.multi_sample_dropout} has no effect: head_dropout is 0"
        )
    if model.reinit_layers and from_scratch:
        raise UserError(
            f"reinit_layers {model.reinit_layers} has no effect: from_scratch {model.from_scratch} is all fresh"
        )
