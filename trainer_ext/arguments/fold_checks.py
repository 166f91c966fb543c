"""Contradictions between the flags of folds and seeds, and with other groups."""

from collections.abc import Sequence

from trainer_ext.arguments.groups import Arguments
from trainer_ext.errors import UserError, check_range
from trainer_ext.tasks import TASKS

FOLD_FLAGS = ("fold", "fold_strategy", "group_column", "fold_repeats")
MULTI_MODEL_FLAGS = ("num_fold_workers", "soup")


def reject_given(args: Arguments, names: Sequence[str], why: str) -> None:
    """Raise `UserError` for the first flag that was given, and switches something on (`soup false` does not)."""
    for name in names:
        # Given and not its value: `--fold 0` asks for a fold, although 0 is false.
        value = args.given.get(name)
        if value is not None and value is not False:
            raise UserError(f"{name} {value} has no effect: {why}")


def check_folds(args: Arguments) -> None:
    """Check folds or seeds, and refuse their flags without them."""
    folds = args.folds
    if folds.folds and folds.seeds:
        raise UserError(f"folds {folds.folds} and seeds {folds.seeds} are both given; drop one")
    if not folds.folds:
        reject_given(args, FOLD_FLAGS, "folds is 0: it needs --folds")
    if not (folds.folds or folds.seeds):
        why = "folds is 0 and there are no seeds: it needs --folds or --seeds"
        reject_given(args, MULTI_MODEL_FLAGS, why)
        return
    check_several_models(args)
    check_soup(args)
    if folds.folds:
        check_division(args)
    else:
        check_seeds(args)


def check_several_models(args: Arguments) -> None:
    """Refuse flags that are about one model."""
    training = args.training
    if not training.do_train:
        raise UserError(
            "do_train false evaluates one checkpoint; it does not go with folds or seeds"
        )
    # `true` asks for the last checkpoint, which each model finds in its own folder.
    checkpoint = training.resume_from_checkpoint
    if str(checkpoint or "true").lower() != "true":
        raise UserError(
            f"resume_from_checkpoint {checkpoint} names one checkpoint, but there are several models: the same command "
            "again goes on with them"
        )


def check_soup(args: Arguments) -> None:
    """Check that averaged weights can be judged, and that nothing was fitted to other weights."""
    if not args.folds.soup:
        return
    # Folds have trained on each other's validation rows: those would judge their average too well.
    if not (args.data.validation_file or args.data.dataset_name):
        raise UserError(
            "soup true needs rows that no fold was trained or chosen on: give --validation_file"
        )
    calibrate = args.model.calibrate
    if calibrate != "none":
        raise UserError(
            f"soup true averages weights, for which calibrate {calibrate} was not fitted; drop one"
        )


def check_seeds(args: Arguments) -> None:
    """Check that seeds differ, and that there are rows to compare their models on."""
    seeds, data = args.folds.seeds or [], args.data
    # Equal seeds would train the same model twice, and the spread would look smaller than it is.
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {seeds} must differ, and be at least 0")
    if not (data.validation_file or data.validation_split or data.dataset_name):
        raise UserError(
            f"seeds {seeds} are compared on validation rows, but there is no validation_file"
        )


def check_division(args: Arguments) -> None:
    """Check that the way rows are dealt to folds fits the task and the other flags."""
    folds, data = args.folds, args.data
    # Not in the field's metadata: 0 means that there are no folds.
    check_range("folds", folds.folds, 2)
    if folds.fold is not None:
        check_range("fold", folds.fold, 0, folds.folds * folds.fold_repeats - 1)
    strategy = folds.fold_strategy
    if (strategy == "group") != bool(folds.group_column):
        raise UserError(
            f"fold_strategy {strategy} and group_column {folds.group_column}: group needs the column, and only group "
            "takes it"
        )
    # Groups are dealt by their sizes and not by chance: repeating it gives the same folds.
    if strategy == "group" and folds.fold_repeats > 1:
        raise UserError(
            f"fold_repeats {folds.fold_repeats}: fold_strategy group has one division only, so drop it"
        )
    # scikit-learn's StratifiedKFold takes one class a row.
    if strategy == "stratified" and not TASKS[data.task].has_one_label(data.label_columns):
        raise UserError(
            f"fold_strategy stratified is for one label a row, but the task is {data.task}: use multilabel_stratified"
        )
    if data.max_eval_samples:
        raise UserError(
            f"max_eval_samples {data.max_eval_samples} and folds {folds.folds} are both given: folds score every row"
        )
