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
CALIBRATIONS = ("none", "temperature", "thresholds", "both")
WEIGHT_METHODS = ("balanced", "effective")
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
    pooling: str = _choices("cls", ("cls", "mean", "max"), "How token states become one vector.")
    head_dropout: float = field(default=0.1, metadata={"help": "Dropout before the head."})
    calibrate: str = _choices("none", CALIBRATIONS, "What is fitted on the validation rows after training.")
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that a hub model brings along."})


@dataclass
class DataArguments:
    """Which rows, and which of their columns."""

    task: str = _choices(
        "single_label", ("single_label", "multi_label", "multi_aspect", "regression", "joint"), "What is predicted."
    )
    train_file: str | None = field(default=None, metadata={"help": "csv, tsv, txt, jsonl or parquet (.gz too)."})
    validation_file: str | None = field(default=None, metadata={"help": "Rows the best checkpoint is chosen on."})
    test_file: str | None = field(default=None, metadata={"help": "Rows scored once, at the end."})
    dataset_name: str | None = field(default=None, metadata={"help": "Hub data set (or folder) instead of files."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the hub data set."})
    text_column: str = field(default="text", metadata={"help": "Column with the text."})
    label_columns: list[str] = field(
        default_factory=lambda: ["label"],
        metadata={"help": "Column with the label (or a list of them); aspects, targets: one each."},
    )
    label_separator: str = field(default=",", metadata={"help": "Between the labels of a multi_label row."})
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
    focal_alpha: list[str] | None = field(
        default=None,
        metadata={"help": "Focal Loss weight: one number, one per class in order, balanced or effective."},
    )
    class_weights: list[str] | None = field(
        default=None,
        metadata={"help": "Weights in cross entropy, of positives in BCE: none, balanced, effective or w1 w2 ..."},
    )
    regression_loss: str = _choices("rmse", ("rmse", "mse", "smooth_l1"), "Loss of the task regression.")
    rdrop_alpha: float = field(default=0.0, metadata={"help": "Weight of R-Drop's KL term; 0: off."})
    slot_loss_weight: float = field(default=1.0, metadata={"help": "Weight of the slots' terms in the task joint."})

    def __post_init__(self):
        self.focal_alpha = word_or_numbers("focal_alpha", self.focal_alpha)
        self.class_weights = word_or_numbers("class_weights", self.class_weights)


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
        check_joint(self)
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
    check_calibrate(args.model.calibrate, data.task, training.do_train, has_validation)
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


def check_calibrate(calibrate: str, task: str, do_train: bool, has_validation: bool) -> None:
    """Calibration follows a training, on validation rows, for tasks with classes."""
    if calibrate == "none":
        return
    if not do_train:
        raise UserError(f"calibrate {calibrate} follows a training, but do_train is false")
    if not has_validation:
        raise UserError(f"calibrate {calibrate} needs rows to fit on, but there is no validation_file")
    possible = {"single_label": CALIBRATIONS, "multi_label": CALIBRATIONS, "multi_aspect": CALIBRATIONS[:2]}
    if calibrate not in possible.get(task, ()):
        raise UserError(f"calibrate {calibrate} is not possible for the task {task}")


def check_objective(args: Arguments) -> None:
    """Term settings that contradict each other."""
    objective, task, smoothing = args.objective, args.data.task, args.training.label_smoothing_factor
    focal_flags = {"focal_gamma": objective.focal_gamma, "focal_alpha": objective.focal_alpha}
    for name, value in (focal_flags | {"class_weights": objective.class_weights}).items():
        if value and task == "regression":
            raise UserError(f"{name} {value} is for classes, but the task is regression, which has none")
    if objective.class_weights and objective.focal_alpha:
        raise UserError(
            f"class_weights {objective.class_weights} and focal_alpha {objective.focal_alpha} are both given; drop one"
        )
    if objective.class_weights and objective.focal_gamma:
        raise UserError(
            f"class_weights {objective.class_weights} is not a part of Focal Loss (focal_gamma "
            f"{objective.focal_gamma}); weight it with focal_alpha"
        )
    if task != "regression" and "regression_loss" in args.given:
        raise UserError(f"regression_loss {objective.regression_loss} is for regression, but the task is {task}")
    check_range("focal_gamma", objective.focal_gamma, 0)
    check_range("rdrop_alpha", objective.rdrop_alpha, 0)
    if objective.focal_alpha and not objective.focal_gamma:
        raise UserError(f"focal_alpha {objective.focal_alpha} has no effect: focal_gamma is 0, which is cross entropy")
    for name in ("focal_alpha", "class_weights"):
        highest = 1 if name == "focal_alpha" and task == "multi_label" else float("inf")  # negatives have 1 - alpha
        for value in () if isinstance(getattr(objective, name), str) else getattr(objective, name) or ():
            check_range(name, value, 0, highest, above=True)
    check_range("label_smoothing_factor", smoothing, 0, 1)
    if smoothing and (objective.focal_gamma or task in ("multi_label", "regression")):
        other = f"focal_gamma {objective.focal_gamma}" if objective.focal_gamma else f"task {task}"
        raise UserError(f"label_smoothing_factor {smoothing} is a part of cross entropy, which {other} does not use")


def check_joint(args: Arguments) -> None:
    """Flags that the task joint takes no account of, and those that only it does."""
    check_range("slot_loss_weight", args.objective.slot_loss_weight, 0)
    if args.data.task != "joint":
        if "slot_loss_weight" in args.given:
            raise UserError(
                f"slot_loss_weight {args.objective.slot_loss_weight} is for the task joint, not {args.data.task}"
            )
        return
    for name in ("label_columns", "label_names"):
        if name in args.given:
            raise UserError(
                f"{name} {args.given[name]} is not for the task joint: it reads tokens, slots and intent, "
                "and takes intents and tags from the training rows"
            )
    alpha = args.objective.focal_alpha
    if isinstance(alpha, str) or len(alpha or ()) > 1:
        raise UserError(f"focal_alpha {alpha}: the task joint has two heads and takes one number")
    if args.objective.class_weights:
        raise UserError(f"class_weights {args.objective.class_weights} is not for the task joint, which has two heads")


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
    if not data.label_separator:
        raise UserError("label_separator is empty: say what stands between the labels of a multi_label row")
    if data.label_separator != "," and data.task != "multi_label":
        raise UserError(f"label_separator {data.label_separator!r} is for multi_label, but the task is {data.task}")
    if data.task == "single_label" and len(data.label_columns) != 1:
        raise UserError(f"single_label takes one label column, but label_columns names {len(data.label_columns)}")


def word_or_numbers(name: str, value: list[str] | None) -> str | list[float] | None:
    """`["balanced"]` as the word, `["none"]` as None, anything else as numbers; a ValueError when it is neither."""
    if not value or value == ["none"]:
        return None
    if len(value) == 1 and value[0] in WEIGHT_METHODS:
        return value[0]
    try:
        return [float(item) for item in value]
    except ValueError:
        expected = f"none, {', '.join(WEIGHT_METHODS)}, or numbers"
        raise ValueError(f"{name} {' '.join(map(str, value))} is not understood; expected {expected}") from None
