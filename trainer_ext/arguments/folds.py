"""The flags of several models from one recipe: folds, seeds, and trials of a search."""

from dataclasses import dataclass

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.launch import LauncherArguments
from trainer_ext.arguments.search import SearchArguments

FOLD_STRATEGIES = ("kfold", "stratified", "multilabel_stratified", "group")


@dataclass
class FoldArguments(SearchArguments, LauncherArguments):
    """Several models of one recipe: one per fold (cross-validation), or one per seed."""

    _argument_group_name = "folds and seeds"

    folds: int = option(0, "Cross-validation over train_file in K folds; 0: off.")
    # None and not -1: `--fold 0` is the first fold, so no number can stand for none.
    fold: int | None = option(None, "Train only this fold, 0 to folds * fold_repeats - 1.")
    fold_strategy: str | None = option(
        None,
        "How rows are assigned to folds; default: stratified for single_label, else multilabel_stratified.",
        choices=FOLD_STRATEGIES,
    )
    group_column: str | None = option(None, "group: rows with the same value are kept in one fold.")
    fold_repeats: int = option(1, "Repeat the division into folds, shuffled anew.", minimum=1)
    num_fold_workers: int = option(1, "Folds, seeds or trials trained at the same time.", minimum=1)
    seeds: list[int] | None = option(None, "One model per seed, e.g. 42 123 456.", minimum=0)
    soup: bool = option(
        False, "Also average the weights of the folds or seeds, evaluated on validation_file."
    )
