"""Every flag of ours: dataclasses, of which `training_arguments.py` joins one with `transformers.TrainingArguments`.

A flag keeps the name `transformers.TrainingArguments` gives it wherever one exists. Imports nothing of ours but the
tasks, small modules and its parts (`optimisation.py`, `precision.py`, `preprocessing.py`), so that every other module
may import it, and nothing that takes long: a wrong flag is refused before torch is loaded (`first_pass.py`).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer_ext.arguments.files import FileOptions
from trainer_ext.arguments.preprocessing import ShapingArguments
from trainer_ext.characters import broken_at
from trainer_ext.tasks import TASKS

SCRATCH_SIZES = ("none", "tiny", "mini", "small", "tinybert_4l", "tinybert_6l")
CALIBRATIONS = ("none", "temperature", "thresholds", "both")
OFF_WORDS = ("none", "no", "off", "false")  # how people switch something off, in YAML and elsewhere
WEIGHT_METHODS = ("balanced", "effective")
FOLD_STRATEGIES = ("kfold", "stratified", "multilabel_stratified", "group")
# By its first line a resolved_config.yaml is known as written by a run of this project.
RESOLVED_HEADER = "# Every flag of the run that made this model: train.py runs it again.\n"
LOWER_IS_BETTER = ("loss", "mcrmse", "ece")


def greater_is_better(metric: str) -> bool:
    """Whether more of a metric is better: not of losses and errors (`rmse_Syntax`). Columns may have any name."""
    name = metric.removeprefix("eval_")
    return name not in LOWER_IS_BETTER and not name.startswith("rmse_")


def _choices(default: str, choices: tuple[str, ...], help: str):
    return field(default=default, metadata={"choices": choices, "help": help})


@dataclass
class ModelArguments:
    """Which encoder, and the head on it."""

    _argument_group_name = "encoder and head"  # in --help

    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Pretrained encoder (hub name or folder), or a checkpoint of this project."
        },
    )
    from_scratch: str = _choices(
        "none",
        SCRATCH_SIZES,
        "Build the encoder from a config and train its vocabulary on the training texts.",
    )
    config_overrides: str | None = field(
        default=None,
        metadata={
            "help": "Encoder config values, e.g. hidden_size=256,num_hidden_layers=3; of a pretrained one only dropout "
            "and fewer layers, e.g. hidden_dropout_prob=0,attention_probs_dropout_prob=0,num_hidden_layers=4."
        },
    )
    vocab_size: int = field(
        default=8000, metadata={"help": "Largest vocabulary trained with --from_scratch."}
    )
    pooling: str | None = field(
        default=None,
        metadata={
            "choices": (
                "cls",
                "mean",
                "max",
                "attention",
                "weighted_layers",
                "concat_last4",
                "label_attention",
            ),
            "help": "How token states become one vector (cls); weighted_layers and concat_last4 take the mean over the "
            "tokens, label_attention one vector for each label. A checkpoint of this project keeps its own.",
        },
    )
    head_dropout: float = field(default=0.1, metadata={"help": "Dropout before the head."})
    head_init: str = _choices(
        "normal",
        ("normal", "ridge"),
        "How a head starts: with small random weights, or (regression) as ridge regression on the encoder as it comes.",
    )
    calibrate: str = _choices(
        "none", CALIBRATIONS, "What is fitted on the validation rows after training."
    )
    multi_sample_dropout: int = field(
        default=1,
        metadata={"help": "Train the head on this many dropout masks of each vector; 1: off."},
    )
    reinit_layers: int = field(
        default=0, metadata={"help": "Re-initialise the top N layers of a pretrained encoder."}
    )
    freeze_embeddings: bool = field(
        default=False, metadata={"help": "Do not train the embeddings."}
    )
    freeze_layers: int = field(
        default=0, metadata={"help": "Do not train the lowest N encoder layers."}
    )
    ignore_mismatched_sizes: bool = field(
        default=False,
        metadata={
            "help": "Take the encoder alone from a checkpoint of other labels, task or pooling."
        },
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run code that a hub model brings along."}
    )


@dataclass
class DataArguments(ShapingArguments, FileOptions):
    """Which rows, which of their columns, how they are written and how they are shaped."""

    _argument_group_name = "data"  # in --help

    task: str = _choices(
        "single_label",
        tuple(TASKS),
        "What is predicted.",
    )
    train_file: str | None = field(
        default=None, metadata={"help": "csv, tsv, txt, jsonl or parquet (.gz too)."}
    )
    validation_file: str | None = field(
        default=None, metadata={"help": "Rows the best checkpoint is chosen on."}
    )
    validation_split: float | None = field(
        default=None,
        metadata={
            "help": "Without a validation_file: this share of the training rows, by class, drawn with seed."
        },
    )
    split_seed: int = field(
        default=42, init=False
    )  # the run's own, also where seeds (or folds) train with others
    test_file: str | None = field(default=None, metadata={"help": "Rows scored once, at the end."})
    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub data set (or folder) instead of files."}
    )
    dataset_config_name: str | None = field(
        default=None, metadata={"help": "Configuration of the hub data set."}
    )
    text_column: str = field(default="text", metadata={"help": "Column with the text."})
    label_columns: list[str] = field(
        default_factory=lambda: ["label"],
        metadata={"help": "Column with the label (or a list of them); aspects, targets: one each."},
    )
    label_separator: str = field(
        default=",", metadata={"help": "Between the labels of a multi_label row."}
    )
    id_column: str | None = field(
        default=None, metadata={"help": "Column that names a row in the answers."}
    )
    label_names: list[str] | None = field(
        default=None,
        metadata={
            "help": "Classes in order, or a file of them (a line each, or a JSON list). name=value maps a raw value; "
            "else values are names or 0..n-1."
        },
    )
    max_length: int = field(
        default=128, metadata={"help": "Longest input in tokens, special tokens included."}
    )
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that tokenise."}
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the training rows as they are needed, for files larger than memory; needs max_steps."
        },
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Use only the first N training rows."}
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Use only the first N validation rows."}
    )

    def __post_init__(self):
        super().__post_init__()
        path = (
            Path(self.label_names[0]) if self.label_names and len(self.label_names) == 1 else None
        )
        if path and path.suffix in (".txt", ".json") and not path.is_file():
            raise ValueError(f"label_names: {path} does not exist")
        if path and path.is_file():
            self.label_names = read_names(path)
        if broken_at(self.label_names) is not None:
            raise ValueError(
                "label_names: a name holds a broken character (half of a surrogate pair)"
            )


@dataclass
class ObjectiveArguments:
    """The loss terms. A term is off at 0, so an ablation is one flag."""

    _argument_group_name = "objective"  # in --help

    focal_gamma: float = field(
        default=0.0, metadata={"help": "Focusing parameter of Focal Loss; 0: cross entropy."}
    )
    focal_alpha: list[str] | None = field(
        default=None,
        metadata={
            "help": "Focal Loss weight: one number, one per class in order, balanced or effective."
        },
    )
    class_weights: list[str] | None = field(
        default=None,
        metadata={
            "help": "Weights in cross entropy, of positives in BCE: none, balanced, effective or w1 w2 ..."
        },
    )
    regression_loss: str = _choices(
        "rmse", ("rmse", "mse", "smooth_l1"), "Loss of the task regression."
    )
    rdrop_alpha: float = field(
        default=0.0, metadata={"help": "Weight of R-Drop's KL term; 0: off."}
    )
    slot_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the slots' terms in the task joint."}
    )

    def __post_init__(self):
        self.focal_alpha = word_or_numbers("focal_alpha", self.focal_alpha)
        self.class_weights = word_or_numbers("class_weights", self.class_weights)


@dataclass
class FoldArguments:
    """Several models of one recipe: one per fold (cross-validation), or one per seed."""

    _argument_group_name = "folds and seeds"  # in --help

    folds: int = field(
        default=0, metadata={"help": "Cross-validation over train_file in K folds; 0: off."}
    )
    fold: int | None = field(
        default=None, metadata={"help": "Train this fold only, 0 to folds * fold_repeats - 1."}
    )
    fold_strategy: str | None = field(
        default=None,
        metadata={
            "choices": FOLD_STRATEGIES,
            "help": "How rows are dealt; default: stratified for single_label, else multilabel_stratified.",
        },
    )
    group_column: str | None = field(
        default=None, metadata={"help": "Rows alike in it share a fold (group)."}
    )
    fold_repeats: int = field(
        default=1, metadata={"help": "Repeat the division into folds, shuffled anew."}
    )
    num_fold_workers: int = field(
        default=1, metadata={"help": "Folds or seeds trained at the same time."}
    )
    seeds: list[int] | None = field(
        default=None, metadata={"help": "One model per seed, e.g. 42 123 456."}
    )
    soup: bool = field(
        default=False,
        metadata={
            "help": "Also average the weights of the folds or seeds, judged on validation_file."
        },
    )


@dataclass
class OwnTrainingArguments:
    """What this project adds to `transformers.TrainingArguments` beside the optimisation, or gives another default."""

    _argument_group_name = "training"  # in --help

    do_train: bool = field(
        default=True, metadata={"help": "Train; false evaluates the checkpoint."}
    )
    early_stopping_patience: int = field(
        default=0,
        metadata={"help": "Stop after this many evaluations without a better metric; 0: off."},
    )
    run_group: str | None = field(default=None, metadata={"help": "W&B group of the run."})
    run_tags: list[str] | None = field(default=None, metadata={"help": "W&B tags of the run."})


@dataclass
class Arguments:
    """All parsed flags, and `given`: those the user set in the recipe or on the command line, as they were set."""

    model: ModelArguments
    data: DataArguments
    objective: ObjectiveArguments
    training: Any  # TrainingArguments, whose module loads torch
    folds: FoldArguments
    given: dict[str, Any]


def read_names(path: Path) -> list[str]:
    """Class names from a file: a JSON list, or one a line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if path.suffix == ".json" else text.split("\n")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"label_names: {path} cannot be read: {error}") from error
    if not isinstance(names, list):
        raise ValueError(f"label_names: {path} holds no JSON list of names")
    return [str(name).strip() for name in names if str(name).strip()]


def word_or_numbers(name: str, value: list[str] | None) -> str | list[float] | None:
    """`["balanced"]` as the word, `["none"]` as None, anything else as numbers; a ValueError when it is neither."""
    if not value or [str(item).lower() for item in value] in ([word] for word in OFF_WORDS):
        return None
    if len(value) == 1 and value[0] in WEIGHT_METHODS:
        return value[0]
    try:
        return [float(item) for item in value]
    except ValueError:
        expected = f"none, {', '.join(WEIGHT_METHODS)}, or numbers"
        raise ValueError(
            f"{name} {' '.join(map(str, value))} is not understood; expected {expected}"
        ) from None
