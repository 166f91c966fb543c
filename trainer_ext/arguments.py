"""Every flag there is: four dataclasses and `parse()`, which joins a YAML recipe with the command line.

A flag keeps the name `transformers.TrainingArguments` gives it wherever one exists. Imports nothing of ours but the
error type and the part of it in `optimisation.py`, so that every other module may import it.
"""

import os
from dataclasses import dataclass, field
from typing import Any

import transformers
from transformers.utils import is_torch_cuda_available

from trainer_ext.errors import UserError, check_range
from trainer_ext.optimisation import OptimisationArguments, check_optimisation

SCRATCH_SIZES = ("none", "tiny", "mini", "small", "tinybert_4l", "tinybert_6l")
LOWER_IS_BETTER = ("loss", "rmse", "ece")


def _choices(default: str, choices: tuple[str, ...], help: str):
    return field(default=default, metadata={"choices": choices, "help": help})


@dataclass
class ModelArguments:
    """Which encoder, and the head on it."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Pretrained encoder (hub name or folder), or a checkpoint of this project."}
    )
    from_scratch: str = _choices(
        "none", SCRATCH_SIZES, "Build the encoder from a config and train its vocabulary on the training texts."
    )
    config_overrides: str | None = field(
        default=None, metadata={"help": "Encoder config values, e.g. hidden_size=256,num_hidden_layers=3."}
    )
    vocab_size: int = field(default=8000, metadata={"help": "Largest vocabulary trained with --from_scratch."})
    pooling: str = _choices(
        "cls",
        ("cls", "mean", "max", "attention", "weighted_layers", "concat_last4"),
        "How token states become one vector; weighted_layers and concat_last4 take the mean over the tokens.",
    )
    head_dropout: float = field(default=0.1, metadata={"help": "Dropout before the head."})
    multi_sample_dropout: int = field(
        default=1, metadata={"help": "Train the head on this many dropout masks of each vector; 1: off."}
    )
    reinit_layers: int = field(default=0, metadata={"help": "Re-initialise the top N layers of a pretrained encoder."})
    freeze_embeddings: bool = field(default=False, metadata={"help": "Do not train the embeddings."})
    freeze_layers: int = field(default=0, metadata={"help": "Do not train the lowest N encoder layers."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that a hub model brings along."})


@dataclass
class DataArguments:
    """Which rows, and which of their columns."""

    task: str = _choices("single_label", ("single_label", "multi_aspect"), "What is predicted.")
    train_file: str | None = field(default=None, metadata={"help": "csv, tsv, txt, jsonl or parquet (.gz too)."})
    validation_file: str | None = field(default=None, metadata={"help": "Rows the best checkpoint is chosen on."})
    test_file: str | None = field(default=None, metadata={"help": "Rows scored once, at the end."})
    dataset_name: str | None = field(default=None, metadata={"help": "Hub data set (or folder) instead of files."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the hub data set."})
    text_column: str = field(default="text", metadata={"help": "Column with the text."})
    label_columns: list[str] = field(
        default_factory=lambda: ["label"], metadata={"help": "Column with the label; for aspects one column each."}
    )
    id_column: str | None = field(default=None, metadata={"help": "Column that names a row in the answers."})
    label_names: list[str] | None = field(
        default=None,
        metadata={"help": "Classes in order. name=value maps a raw value; else values are names or 0..n-1."},
    )
    max_length: int = field(default=128, metadata={"help": "Longest input in tokens, special tokens included."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that tokenise."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only the first N training rows."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only the first N validation rows."})


@dataclass
class ObjectiveArguments:
    """The loss terms. A term is off at 0, so an ablation is one flag."""

    focal_gamma: float = field(default=0.0, metadata={"help": "Focusing parameter of Focal Loss; 0: cross entropy."})
    focal_alpha: list[float] | None = field(
        default=None, metadata={"help": "Focal Loss weight: one number, or one per class in order."}
    )
    rdrop_alpha: float = field(default=0.0, metadata={"help": "Weight of R-Drop's KL term; 0: off."})


@dataclass
class TrainingArguments(OptimisationArguments, transformers.TrainingArguments):
    """`transformers.TrainingArguments` and what this project adds to the optimisation and its tracking."""

    # Taken from the command line by DataArguments.label_names, the classes; here it names the batch's label tensors.
    label_names: list[str] = field(default_factory=lambda: ["labels"], init=False)
    do_train: bool = field(default=True, metadata={"help": "Train; false evaluates the checkpoint."})
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after this many evaluations without a better metric; 0: off."}
    )
    run_group: str | None = field(default=None, metadata={"help": "W&B group of the run."})
    run_tags: list[str] | None = field(default=None, metadata={"help": "W&B tags of the run."})

    def __post_init__(self):
        if self.fp16 and not is_torch_cuda_available():
            raise ValueError("fp16 true needs a CUDA device and there is none; use --fp16 false, or --bf16 true")
        if (self.bf16 or self.bf16_full_eval) and not is_torch_cuda_available():
            self.use_cpu = True  # transformers then asks for bf16 on the CPU instead of refusing it
        if self.metric_for_best_model and self.greater_is_better is None:
            self.greater_is_better = not any(word in self.metric_for_best_model for word in LOWER_IS_BETTER)
        if self.gradient_checkpointing and self.gradient_checkpointing_kwargs is None:
            self.gradient_checkpointing_kwargs = {"use_reentrant": False}  # the other kind trains nothing above frozen
        if self.report_to is None:
            self.report_to = "wandb"
        if self.save_total_limit == 1 and self.load_best_model_at_end:
            self.save_total_limit = 2  # with 1 Trainer deletes the last checkpoint at the end, unless it is the best
        super().__post_init__()
        self.save_safetensors = True


@dataclass
class Arguments:
    """All parsed flags, and `given`: those the user set in the recipe or on the command line, as they were set."""

    model: ModelArguments
    data: DataArguments
    objective: ObjectiveArguments
    training: TrainingArguments
    given: dict[str, Any]

    def check(self) -> None:
        """Refuse contradictions before any data is read.

        Raises:
            UserError: naming both flags and both values.
        """
        check_model(self)
        check_training(self)
        check_objective(self)
        check_files(self)


def check_model(args: Arguments) -> None:
    """One source of the encoder, and numbers in their ranges."""
    model = args.model
    if model.from_scratch != "none" and model.model_name_or_path:
        raise UserError(
            f"from_scratch {model.from_scratch} and model_name_or_path {model.model_name_or_path} are both given; "
            "drop one (--from_scratch none switches a recipe's off)"
        )
    if args.training.do_train and model.from_scratch == "none" and not model.model_name_or_path:
        raise UserError(f"no encoder: give --model_name_or_path, or --from_scratch {'|'.join(SCRATCH_SIZES[1:])}")
    if model.config_overrides and model.from_scratch == "none":
        raise UserError(f"config_overrides {model.config_overrides} only apply to --from_scratch, which is none")
    check_range("head_dropout", model.head_dropout, 0, 1)
    check_range("multi_sample_dropout", model.multi_sample_dropout, 1)
    check_range("reinit_layers", model.reinit_layers, 0)
    check_range("freeze_layers", model.freeze_layers, 0)
    if model.multi_sample_dropout > 1 and not model.head_dropout:
        raise UserError(f"multi_sample_dropout {model.multi_sample_dropout} has no effect: head_dropout is 0")
    if model.reinit_layers and model.from_scratch != "none":
        raise UserError(
            f"reinit_layers {model.reinit_layers} has no effect: from_scratch {model.from_scratch} is all fresh"
        )
    if model.freeze_embeddings and args.training.adversarial in ("fgm", "pgd"):
        raise UserError(
            f"adversarial {args.training.adversarial} follows the gradient of the embeddings, but freeze_embeddings is "
            "true"
        )
    check_range("vocab_size", model.vocab_size, 16)
    check_range("max_length", args.data.max_length, 4)


def check_training(args: Arguments) -> None:
    """Early stopping and the best model need an evaluation to look at."""
    training, data = args.training, args.data
    strategy = str(training.eval_strategy.value)
    has_validation = bool(data.validation_file or data.dataset_name)
    if training.early_stopping_patience and strategy == "no":
        raise UserError(
            f"early_stopping_patience {training.early_stopping_patience} needs evaluations, but eval_strategy is no"
        )
    if training.early_stopping_patience and not training.load_best_model_at_end:
        raise UserError(
            f"early_stopping_patience {training.early_stopping_patience} needs load_best_model_at_end true, "
            "but it is false"
        )
    if training.do_train and strategy != "no" and not has_validation:
        raise UserError(f"eval_strategy {strategy} needs rows to evaluate on, but there is no validation_file")
    if not training.do_train and not has_validation and not data.test_file:
        raise UserError("do_train false evaluates a checkpoint, but there is neither validation_file nor test_file")
    if training.save_strategy.value == "best" and not training.metric_for_best_model:
        raise UserError("save_strategy best needs metric_for_best_model, which is not given")
    for name in ("learning_rate", "weight_decay", "num_train_epochs"):
        check_range(name, getattr(training, name), 0)
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
        check_range(name, getattr(training, name), 1)
    check_range("early_stopping_patience", training.early_stopping_patience, 0)
    check_optimisation(training)


def check_objective(args: Arguments) -> None:
    """Term settings that contradict each other."""
    objective = args.objective
    check_range("focal_gamma", objective.focal_gamma, 0)
    check_range("rdrop_alpha", objective.rdrop_alpha, 0)
    if objective.focal_alpha and not objective.focal_gamma:
        raise UserError(f"focal_alpha {objective.focal_alpha} has no effect: focal_gamma is 0, which is cross entropy")
    for alpha in objective.focal_alpha or ():
        check_range("focal_alpha", alpha, 0, above=True)
    if args.training.label_smoothing_factor:
        raise UserError(
            f"label_smoothing_factor {args.training.label_smoothing_factor} is not a term of this objective; "
            "set it to 0"
        )


def check_files(args: Arguments) -> None:
    """Files named and present."""
    data = args.data
    if args.training.do_train and not data.train_file and not data.dataset_name:
        raise UserError("nothing to train on: give --train_file or --dataset_name")
    for flag in ("train_file", "validation_file", "test_file"):
        path = getattr(data, flag)
        if path and data.dataset_name:
            raise UserError(f"dataset_name {data.dataset_name} and {flag} {path} are both given; drop one")
        if path and not os.path.isfile(path):
            raise UserError(
                f"{flag}: {path} does not exist" if not os.path.exists(path) else f"{flag}: {path} is a folder"
            )
    if data.task == "multi_aspect" and len(data.label_columns) < 2 and "label_columns" not in args.given:
        raise UserError("multi_aspect needs --label_columns: one column per aspect")
    if data.task == "single_label" and len(data.label_columns) != 1:
        raise UserError(f"single_label takes one label column, but label_columns names {len(data.label_columns)}")
