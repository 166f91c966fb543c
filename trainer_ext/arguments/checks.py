"""Contradictions between flags, found before any data is read; each is reported with both values."""

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from trainer_ext.arguments.calibration_checks import check_calibrate, check_reject
from trainer_ext.arguments.compression import check_chain, check_compression, check_widths
from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.distillation import check_distillation, check_layer_terms
from trainer_ext.arguments.fields import check_ranges, numbers_in
from trainer_ext.arguments.files import FileOptions, check_encoding, ending_of
from trainer_ext.arguments.fold_checks import check_folds
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.model import check_model
from trainer_ext.arguments.objective import check_terms
from trainer_ext.arguments.optimisation import check_optimisation, parse_parameter_groups
from trainer_ext.arguments.precision import check_precision
from trainer_ext.arguments.preprocessing import check_preprocessing
from trainer_ext.arguments.students import check_student
from trainer_ext.errors import UserError, check_range
from trainer_ext.tasks import TASKS

FILE_FLAGS = ("train_file", "validation_file", "test_file")
# Ranges of transformers' flags, whose fields do not have them.
NOT_NEGATIVE = ("learning_rate", "weight_decay", "num_train_epochs")
AT_LEAST_ONE = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
)


def check_arguments(args: Arguments) -> None:
    """Refuse contradictions.

    Raises:
        UserError: naming both flags and both values.
    """
    check_training(args)
    check_early(args)


def check_early(args: Arguments) -> None:
    """Refuse contradictions that show in the flags as given, before transformers has worked out its own."""
    # Ranges first: the other checks calculate with numbers that make sense.
    for group in (args.model, args.data, args.objective, args.training, args.folds):
        check_ranges(group)
    check_model(args.model, args.training.do_train)
    check_student(args.model, args.training)
    check_head(args)
    check_frozen(args)
    check_objective(args)
    check_terms(args.objective)
    has_classes = TASKS[args.data.task].has_classes
    check_distillation(
        args.objective, args.given, has_classes, args.data.streaming, args.model.is_chain
    )
    check_layer_terms(args.objective, args.model.from_scratch, args.model.compression or ())
    check_compression(
        args.model, args.given, args.data.streaming, args.training.load_best_model_at_end
    )
    check_chain(
        args.model,
        bool(args.folds.folds or args.folds.seeds),
        has_validation_rows(args),
    )
    check_widths(
        args.model,
        bool(args.folds.folds or args.folds.seeds),
        has_validation_rows(args),
        args.training.push_to_hub,
        args.training.resume_from_checkpoint,
    )
    check_token_head(args)
    check_preprocessing(args)
    check_folds(args)
    check_files(args)
    check_validation_split(args)
    check_streaming(args)


def check_head(args: Arguments) -> None:
    """Refuse a start of the head that the task has no use for."""
    if args.model.head_init == "ridge" and TASKS[args.data.task].has_classes:
        raise UserError(
            f"head_init ridge fits numbers: it is for the task regression, not {args.data.task}"
        )


def check_frozen(args: Arguments) -> None:
    """Refuse to perturb frozen embeddings, or to give frozen parts a learning rate."""
    model, training = args.model, args.training
    if model.freeze_embeddings and training.adversarial in ("fgm", "pgd"):
        raise UserError(
            f"adversarial {training.adversarial} follows the gradient of the embeddings, but freeze_embeddings is true"
        )
    # A rate for what does not learn is a misunderstanding, not a setting.
    for entry in parse_parameter_groups(training.parameter_groups or ()):
        if entry.part == "embeddings" and model.freeze_embeddings:
            raise UserError(
                f"parameter_groups {entry.text} has no effect: freeze_embeddings is true"
            )
        if entry.part == "layers" and entry.last < model.freeze_layers:
            raise UserError(
                f"parameter_groups {entry.text} has no effect: freeze_layers is {model.freeze_layers}"
            )


def check_training(args: Arguments) -> None:
    """Refuse settings of transformers that contradict each other, or that this project cannot follow."""
    check_evaluation(args)
    check_trainer(args.training)
    check_optimisation(args.training)
    check_precision(args.given)


def has_validation_rows(args: Arguments) -> bool:
    """Return whether the flags name validation rows."""
    data = args.data
    # Whether a hub data set has a validation split is known when it is loaded; until then it may have one.
    return any((data.validation_file, data.validation_split, data.dataset_name, args.folds.folds))


def check_evaluation(args: Arguments) -> None:
    """Check that early stopping, the best model and calibration have evaluations and rows to look at."""
    training, data = args.training, args.data
    strategy = str(training.eval_strategy.value)
    patience = training.early_stopping_patience
    has_validation = has_validation_rows(args)
    # transformers would train to the end in silence (issues 28530 and 21553): nothing would ever stop it.
    if patience and strategy == "no":
        raise UserError(
            f"early_stopping_patience {patience} needs evaluations, but eval_strategy is no"
        )
    if patience and not training.load_best_model_at_end:
        raise UserError(
            f"early_stopping_patience {patience} needs load_best_model_at_end true, but it is false"
        )
    if training.do_train and training.load_best_model_at_end and strategy == "no":
        raise UserError(
            "load_best_model_at_end true needs evaluations to tell the best by, but eval_strategy is no"
        )
    check_calibrate(args.model.calibrate, data.task, training.do_train, has_validation)
    check_reject(args, has_validation)
    if training.do_train and strategy != "no" and not has_validation:
        raise UserError(
            f"eval_strategy {strategy} needs rows to evaluate on, but there is no validation_file"
        )
    if not training.do_train and not has_validation and not data.test_file:
        raise UserError(
            "do_train false evaluates a checkpoint, but there is neither validation_file nor test_file"
        )


def check_trainer(training: Any) -> None:
    """Check flags of transformers: their ranges, and values that this project cannot follow."""
    # Going on without the optimizer's state would be another training, with a jump in its loss.
    if training.save_only_model and training.resume_from_checkpoint:
        raise UserError(
            f"save_only_model true keeps no optimizer, which resume_from_checkpoint {training.resume_from_checkpoint} "
            "goes on with"
        )
    # Without a metric transformers would never save at all.
    if training.save_strategy.value == "best" and not training.metric_for_best_model:
        raise UserError("save_strategy best needs metric_for_best_model, which is not given")
    for name in NOT_NEGATIVE:
        check_range(name, getattr(training, name), 0)
    for name in AT_LEAST_ONE:
        check_range(name, getattr(training, name), 1)
    # numpy takes no other seeds.
    check_range("seed", training.seed, 0, 2**32 - 1)
    why = "is not possible: metrics are computed from the logits of all rows"
    for name in ("batch_eval_metrics", "prediction_loss_only"):
        if getattr(training, name):
            raise UserError(f"{name} true {why}")
    if not training.eval_do_concat_batches:
        raise UserError(f"eval_do_concat_batches false {why}")


def check_objective(args: Arguments) -> None:
    """Refuse loss terms that the task does not have, and weights out of their range."""
    objective, given = args.objective, args.given
    name_of_task, task = args.data.task, TASKS[args.data.task]
    for name in ("focal_gamma", "focal_alpha", "class_weights"):
        value = getattr(objective, name)
        if value and not task.has_classes:
            raise UserError(
                f"{name} {value} is for classes, but the task is {name_of_task}, which has none"
            )
    # Its default is a loss, so only what was given tells that it was meant.
    if task.has_classes and "regression_loss" in given:
        raise UserError(
            f"regression_loss {objective.regression_loss} is for regression, but the task is {name_of_task}"
        )
    if task.loss_family == "binary_cross_entropy":
        # Positives weigh alpha, negatives 1 - alpha.
        for value in numbers_in(objective.focal_alpha):
            check_range("focal_alpha", value, 0, 1, above=True)
    check_smoothing(args)


def check_smoothing(args: Arguments) -> None:
    """Refuse label smoothing if the loss is not cross entropy."""
    gamma, smoothing = args.objective.focal_gamma, args.training.label_smoothing_factor
    check_range("label_smoothing_factor", smoothing, 0, 1)
    if not smoothing:
        return
    part = f"label_smoothing_factor {smoothing} is a part of cross entropy, which"
    if gamma:
        raise UserError(f"{part} focal_gamma {gamma} does not use")
    if TASKS[args.data.task].loss_family != "cross_entropy":
        raise UserError(f"{part} task {args.data.task} does not use")


def check_token_head(args: Arguments) -> None:
    """Refuse flags that a task with a head for each token takes no account of, and those that only it takes."""
    task, objective = args.data.task, args.objective
    if not TASKS[task].has_token_head:
        if "slot_loss_weight" in args.given:
            raise UserError(
                f"slot_loss_weight {objective.slot_loss_weight} is for the task joint, not {task}"
            )
        return
    for name in ("label_columns", "label_names"):
        # Recipes for other tasks have them; their values would be ignored.
        if name in args.given:
            raise UserError(
                f"{name} {args.given[name]} is not for the task {task}: it reads tokens, slots and intent, "
                "and takes intents and tags from the training rows"
            )
    alpha = objective.focal_alpha
    if isinstance(alpha, str) or len(alpha or ()) > 1:
        raise UserError(f"focal_alpha {alpha}: the task {task} has two heads and takes one number")
    if objective.class_weights:
        raise UserError(
            f"class_weights {objective.class_weights} is not for the task {task}, which has two heads"
        )


def check_files(args: Arguments) -> None:
    """Check that there is something to train on, that files are there, and that columns fit the task."""
    data = args.data
    if not str(args.training.output_dir).strip():
        raise UserError(
            "output_dir is empty, which would be the working directory: give a folder for the model"
        )
    if args.training.do_train and not data.train_file and not data.dataset_name:
        raise UserError("nothing to train on: give --train_file or --dataset_name")
    for flag in FILE_FLAGS:
        path = getattr(data, flag)
        if path and data.dataset_name:
            raise UserError(
                f"dataset_name {data.dataset_name} and {flag} {path} are both given; drop one"
            )
        if path:
            check_is_file(flag, path)
    for path in args.objective.unlabelled_file or ():
        check_is_file("unlabelled_file", path)
    if data.drop_suspects:
        check_is_file("drop_suspects", data.drop_suspects)
    check_reading(data, args.objective.unlabelled_file or ())
    # str.split takes no empty separator.
    if not data.label_separator:
        raise UserError(
            "label_separator is empty: say what stands between the labels of a multi_label row"
        )
    if data.label_separator != "," and not TASKS[data.task].takes_lists:
        raise UserError(
            f"label_separator {data.label_separator!r} is for multi_label, but the task is {data.task}"
        )
    TASKS[data.task].check_columns(data.label_columns, given="label_columns" in args.given)


def check_is_file(flag: str, path: str) -> None:
    """Raise `UserError` for a path that is not there, or is something else than a file."""
    if os.path.isfile(path):
        return
    if not os.path.exists(path):
        raise UserError(f"{flag}: {path} does not exist")
    what = "a folder" if os.path.isdir(path) else "not a file"
    raise UserError(f"{flag}: {path} is {what}")


def check_validation_split(args: Arguments) -> None:
    """Check that rows to validate on come from one place, and that all rows are there to be divided."""
    data = args.data
    if not data.validation_split:
        return
    split = f"validation_split {data.validation_split}"
    if not 0 < data.validation_split < 1:
        raise UserError(
            f"{split} is out of range: it is a share of the rows, below 1 (0.1: a tenth; 0: off)"
        )
    # Rows kept back beside a file of them would only be lost to the training.
    if data.validation_file:
        raise UserError(
            f"{split} and validation_file {data.validation_file} are both given; drop one"
        )
    if args.folds.folds:
        raise UserError(
            f"{split} and folds {args.folds.folds}: each fold is validated on rows of its own; drop one"
        )
    if data.streaming:
        raise UserError(f"{split} divides all training rows, which streaming true does not hold")
    if not data.train_file and not data.dataset_name:
        raise UserError(f"{split} takes rows of train_file, but there is none")


def check_streaming(args: Arguments) -> None:
    """Refuse what needs all training rows at once if they are streamed."""
    data, training = args.data, args.training
    if not data.streaming:
        return
    not_held = "which streaming true does not hold"
    if not training.do_train:
        raise UserError("streaming true is for training, but do_train is false")
    # How many rows a stream has is not known, so neither is the length of an epoch.
    if training.max_steps <= 0:
        raise UserError(f"streaming true needs max_steps above 0, but it is {training.max_steps}")
    if training.group_by_length:
        raise UserError(
            "streaming true cannot sort rows by their length: group_by_length must be false, but it is true"
        )
    if data.balance != "none":
        raise UserError(f"balance {data.balance} draws from all training rows, {not_held}")
    if args.model.head_init == "ridge":
        raise UserError(f"head_init ridge reads the training rows beforehand, {not_held}")
    if args.folds.folds:
        raise UserError(f"folds {args.folds.folds} divides all training rows, {not_held}")
    for name in ("class_weights", "focal_alpha"):
        value = getattr(args.objective, name)
        if isinstance(value, str):
            raise UserError(f"{name} {value} counts all training rows, {not_held}: give numbers")


def check_reading(data: DataArguments, unlabelled: Sequence[str] = ()) -> None:
    """Refuse reading flags that the files, `unlabelled` among them, or the task, take no account of."""
    task = data.task
    reads_words = TASKS[task].reads_words
    for spec in fields(FileOptions):
        value = getattr(data, spec.name)
        if value == spec.default:
            continue
        # A hub data set has its rows ready; leaving out some of them is all that is left to do.
        if data.dataset_name and spec.name != "drop_missing":
            raise UserError(
                f"{spec.name} {value} is for files, not dataset_name {data.dataset_name}"
            )
        if reads_words and spec.name not in ("file_format", "encoding"):
            raise UserError(f"{spec.name} {value} is not for the files of the task {task}")
    check_encoding(data.encoding)
    if not reads_words:
        data.check(formats_of(data, unlabelled))
    elif data.file_format in ("csv", "tsv", "txt"):
        raise UserError(
            f"file_format {data.file_format} is not for the task {task}: its text files are told by content"
        )


def formats_of(data: DataArguments, unlabelled: Sequence[str]) -> list[str]:
    """Return the formats of the files: the one that was given, or those that their endings say."""
    if data.file_format != "auto":
        return [data.file_format]
    paths = [*(getattr(data, flag) for flag in FILE_FLAGS), *unlabelled]
    return sorted({ending_of(path) for path in paths if path})
