"""Contradictions between the flags of folds and seeds, and with others; a part of `checks.py`."""

from collections.abc import Sequence

from trainer_ext.arguments.groups import Arguments
from trainer_ext.errors import UserError, check_range
from trainer_ext.tasks import TASKS

FOLD_FLAGS = ("fold", "fold_strategy", "group_column", "fold_repeats")
MULTI_MODEL_FLAGS = ("num_fold_workers", "soup")


def reject_given(args: Arguments, names: Sequence[str], why: str) -> None:
    """Raise `UserError` for the first flag that was given, and switches something on (`soup false` does not)."""
    for name in names:
        if args.given.get(name) is not None and args.given[name] is not False:
            raise UserError(f"{name} {args.given[name]} has no effect: {why}")


def check_folds(args: Arguments) -> None:
    """Folds or seeds, and what only one of them takes."""
    folds, training, data = args.folds, args.training, args.data
    if folds.folds and folds.seeds:
        raise UserError(f"folds {folds.folds} and seeds {folds.seeds} are both given; drop one")
    several = folds.folds or folds.seeds
    if not folds.folds:
        reject_given(args, FOLD_FLAGS, "folds is 0" + ("" if several else ": it needs --folds"))
    if not several:
        reject_given(
            args,
            MULTI_MODEL_FLAGS,
            "folds is 0 and there are no seeds: it needs --folds or --seeds",
        )
    if not several:
        return
    if not training.do_train:
        raise UserError(
            "do_train false evaluates one checkpoint; it does not go with folds or seeds"
        )
    if str(training.resume_from_checkpoint or "true").lower() != "true":
        raise UserError(
            f"resume_from_checkpoint {training.resume_from_checkpoint} names one checkpoint, but there are several "
            "models: the same command again goes on with them"
        )
    if folds.soup and not (data.validation_file or data.dataset_name):
        raise UserError(
            "soup true needs rows that no fold was trained or chosen on: give --validation_file"
        )
    if folds.soup and args.model.calibrate != "none":
        raise UserError(
            f"soup true averages weights, for which calibrate {args.model.calibrate} was not fitted; drop one"
        )
    if folds.seeds:
        if len(set(folds.seeds)) < len(folds.seeds) or min(folds.seeds) < 0:
            raise UserError(f"seeds {folds.seeds} must differ, and be at least 0")
        if not (data.validation_file or data.validation_split or data.dataset_name):
            raise UserError(
                f"seeds {folds.seeds} are compared on validation rows, but there is no validation_file"
            )
        return
    check_fold_strategy(args)


def check_fold_strategy(args: Arguments) -> None:
    """How rows are dealt fits the task, and the other flags of folds."""
    folds, data = args.folds, args.data
    check_range("folds", folds.folds, 2)
    if folds.fold is not None:
        check_range("fold", folds.fold, 0, folds.folds * folds.fold_repeats - 1)
    if (folds.fold_strategy == "group") != bool(folds.group_column):
        raise UserError(
            f"fold_strategy {folds.fold_strategy} and group_column {folds.group_column}: group needs the column, and "
            "only group takes it"
        )
    if folds.fold_strategy == "group" and folds.fold_repeats > 1:
        raise UserError(
            f"fold_repeats {folds.fold_repeats}: fold_strategy group has one division only, so drop it"
        )
    one_label = TASKS[data.task].has_one_label(data.label_columns)
    if folds.fold_strategy == "stratified" and not one_label:
        raise UserError(
            f"fold_strategy stratified is for one label a row, but the task is {data.task}: use multilabel_stratified"
        )
    if data.max_eval_samples:
        raise UserError(
            f"max_eval_samples {data.max_eval_samples} and folds {folds.folds} are both given: folds score every row"
        )
