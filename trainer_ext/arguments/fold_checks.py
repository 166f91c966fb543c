"""Contradictions between the flags of folds, seeds and searches, and with other groups."""

import os
from collections.abc import Sequence

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.launch import RAY_FLAGS
from trainer_ext.children import COPY
from trainer_ext.errors import UserError, check_range
from trainer_ext.storage import check_url, is_url
from trainer_ext.tasks import TASKS

FOLD_FLAGS = ("fold", "fold_strategy", "group_column", "fold_repeats")
MULTI_MODEL_FLAGS = ("num_fold_workers", "soup")
# Metrics that trials cannot be compared by, and why.
NO_SEARCH_METRICS = ("loss", "eval_loss")


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
    check_search(args)
    check_launcher(args)
    check_output_url(args)
    if not (folds.folds or folds.seeds):
        why = "folds is 0 and there are no seeds: it needs --folds or --seeds"
        # Trials are trained at the same time, too.
        flags = ("soup",) if folds.search else MULTI_MODEL_FLAGS
        reject_given(args, flags, why)
        return
    check_several_models(args)
    check_soup(args)
    if folds.folds:
        check_division(args)
    else:
        check_seeds(args)


def check_search(args: Arguments) -> None:
    """Check that trials can be compared, and refuse their flags without a search."""
    search = args.folds.search
    if search is None:
        reject_given(args, ("search_trials",), "it needs --search")
        return
    if not os.path.isfile(search):
        raise UserError(f"search: {search} does not exist, or is not a file")
    if not args.training.do_train:
        raise UserError(f"search {search} trains, but do_train is false")
    if args.folds.fold is not None:
        raise UserError(
            f"search {search} and fold {args.folds.fold}: a trial trains all folds, or none; drop one"
        )
    if args.folds.soup:
        raise UserError(f"search {search} compares models, not soups: drop soup true")
    if args.model.has_widths:
        raise UserError(f"search {search} and several widths {args.model.width}: drop one")
    # A search over focal_gamma would take the largest one, whose losses are the smallest.
    metric = args.training.metric_for_best_model
    if metric in NO_SEARCH_METRICS:
        raise UserError(
            f"metric_for_best_model {metric}: losses of different objectives cannot be compared; name a metric of the "
            "task for the search"
        )
    data = args.data
    if not any((data.validation_file, data.validation_split, data.dataset_name, args.folds.folds)):
        raise UserError(
            f"search {search} compares trials on validation rows: give --validation_file, --validation_split or --folds"
        )


def check_output_url(args: Arguments) -> None:
    """Refuse an output folder at a URL, but for folds and seeds on Ray, whose nodes bring it to themselves."""
    url = str(args.training.output_dir)
    # On such a node it has been checked.
    if not is_url(url) or COPY in os.environ:
        return
    several = args.folds.folds or len(args.folds.seeds or ()) > 1
    if args.folds.launcher != "ray" or args.folds.search or not several:
        raise UserError(
            f"output_dir {url}: a URL is taken for folds and seeds with --launcher ray only; name a folder, and copy it"
        )
    check_url("output_dir", url)


def check_launcher(args: Arguments) -> None:
    """Refuse Ray's flags without Ray, and Ray without several trainings."""
    folds = args.folds
    if folds.launcher == "process":
        reject_given(args, RAY_FLAGS, "launcher is process: it needs --launcher ray")
        return
    several = folds.search or len(folds.seeds or ()) > 1 or (folds.folds and folds.fold is None)
    if not several:
        raise UserError(
            "launcher ray has no effect: it is for several trainings (all folds, several seeds, or --search)"
        )
    if "num_fold_workers" in args.given:
        raise UserError(
            f"num_fold_workers {folds.num_fold_workers} and launcher ray: the cluster trains as many at a time as "
            "num_cpus_per_run and num_gpus_per_run allow; drop one"
        )


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
    if args.model.reject != "none":
        raise UserError(
            f"soup true averages weights, for which reject {args.model.reject} was not fitted; drop one"
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
