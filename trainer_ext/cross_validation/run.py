"""All folds (or seeds) of a run, from the fold file to the table of scores."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.card import summary_table, write_card
from trainer_ext.cross_validation.folder import take_folder
from trainer_ext.cross_validation.launched_members import train_launched
from trainer_ext.cross_validation.launchers.choose import check_launcher_installed
from trainer_ext.cross_validation.launchers.stored import is_of_checkpoint
from trainer_ext.cross_validation.members import in_folder, member_names
from trainer_ext.cross_validation.report import report_together
from trainer_ext.cross_validation.summary import Scored, scored_by_folds, scored_by_seeds, summarise
from trainer_ext.cross_validation.test_rows import read_test_rows
from trainer_ext.cross_validation.train_members import run_command, train_members
from trainer_ext.data.duplicates import normalised
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import texts_and_labels
from trainer_ext.data.report.summary import index_of_texts, warn_of_shared_texts
from trainer_ext.data.training_data import TrainingData, load_training_data
from trainer_ext.errors import UserError
from trainer_ext.evaluation.outputs import load_history
from trainer_ext.files import read_json, write_json
from trainer_ext.processes import on_main
from trainer_ext.reports import plots
from trainer_ext.storage import Storage, is_url
from trainer_ext.tracking.artifacts.publish import put_if_missing
from trainer_ext.tracking.fold_summary import log_evaluation

logger = logging.getLogger(__name__)


def run_members(args: Arguments) -> dict[str, float]:
    """Train every fold or seed that is not finished, then join their predictions.

    Returns:
        `oof_*` (for seeds `ensemble_*`), `mean_*` and `std_*`, which are in cv.json too; empty on other processes of a
        launch than the main one.

    Raises:
        UserError: for bad flags or rows, and for a folder that holds another run or other data.
        RunError: when a fold failed.
    """
    check_launcher_installed(args)
    if is_url(args.training.output_dir):
        return run_in_storage(args)
    is_launched = args.training.world_size > 1
    prepared: list[tuple[Scored, dict[str, Any]]] = []
    if is_launched:
        check_launched(args)
    # Not what it returns: the rows need not travel to the other processes of a launch.
    on_main(lambda: prepared.append(prepare(args)))
    if is_launched:
        train_launched(args, member_names(args))
    else:
        train_members(args)
    if not prepared:
        return {}
    return join(args, *prepared[0])


def run_in_storage(args: Arguments) -> dict[str, float]:
    """Do what `run_members` does in a copy of a folder at a URL, and send there what was made.

    Raises:
        StorageError: if the URL does not answer, or refuses.
    """
    url = args.training.output_dir
    with TemporaryDirectory(prefix="trainer-ext-") as scratch:
        # The last part of the URL names artifacts and runs, as the name of a folder does.
        folder = Path(scratch, PurePosixPath(url).name)
        folder.mkdir()
        storage = Storage(url, folder)
        # Checkpoints are for the nodes, which go on from them.
        storage.pull(lambda name: not is_of_checkpoint(name))
        here = in_folder(args, folder)
        prepared = prepare(here)
        if args.training.overwrite_output_dir:
            storage.forget(is_of_checkpoint)
        storage.push()
        train_members(here, storage)
        metrics = join(here, *prepared)
        storage.push()
    return metrics


def check_launched(args: Arguments) -> None:
    """Refuse, under torchrun, flags of models that are trained side by side."""
    folds = args.folds
    for name, value, alone in (
        ("num_fold_workers", folds.num_fold_workers, 1),
        ("launcher", folds.launcher, "process"),
    ):
        if value != alone:
            raise UserError(
                f"{name} {value} under torchrun or accelerate launch: each model trains on all devices of the launch, "
                "one after the other; drop one of both"
            )


def join(args: Arguments, scored: Scored, about: dict[str, Any]) -> dict[str, float]:
    """Join the predictions of all folds or seeds, and write what belongs beside them.

    Args:
        args: of all.
        scored: which rows each model is validated on.
        about: how the rows were divided, for cv.json.

    Returns:
        What `run_members` returns.
    """
    folder = Path(args.training.output_dir)
    joined = summarise(args, scored, about)
    summary = joined.summary
    add_test_metrics(args, folder, summary)
    add_soup(args, folder, summary)
    histories = {name: load_history(folder / name) for name in scored.parts}
    plots.fold_curves(histories, summary["metric"], folder / "plots" / "learning_curves.png")
    if args.training.write_report:
        report_together(args, scored, joined)
    write_card(folder, args, summary)
    log_evaluation(args, summary, folder / ("validation.csv" if args.folds.seeds else "oof.csv"))
    print_result(args, folder, summary)
    metrics = {}
    for part in ("ensemble" if args.folds.seeds else "oof", "mean", "std"):
        for name, value in summary[part].items():
            metrics[f"{part}_{name}"] = value
    return metrics


def add_test_metrics(args: Arguments, folder: Path, summary: dict[str, Any]) -> None:
    """Predict the test rows with all models together, if there are any; add what labelled ones score to cv.json."""
    if not args.data.test_file:
        return
    # A process of its own: this one loads no model, and its memory does not grow with the folds.
    run_command("submission", [str(folder)], folder / "submission.log")
    scores = folder / "test_metrics.json"
    if scores.is_file():
        summary["test"] = read_json(scores)
        write_json(folder / "cv.json", summary)


def add_soup(args: Arguments, folder: Path, summary: dict[str, Any]) -> None:
    """Average the models' weights, if `--soup` asks for it; add what it is made of and scores to cv.json."""
    if not args.folds.soup:
        return
    run_command("soup", [str(folder)], folder / "soup.log")
    summary["soup"] = read_json(folder / "soup" / "soup.json")
    write_json(folder / "cv.json", summary)
    put_if_missing(args, "soup")


def print_result(args: Arguments, folder: Path, summary: dict[str, Any]) -> None:
    """Print the table of scores, and where everything is."""
    print(f"\n{summary_table(summary)}")
    if args.folds.folds and args.model.calibrate in ("thresholds", "both"):
        # Otherwise the two scores of a fold look like a mistake.
        print(
            "Rows out of fold are decided with what the other folds fit; a fold's own metrics.json with its own fit."
        )
    # It may be at a URL, and `folder` its copy.
    place = args.given.get("output_dir", folder)
    print(f"\nThe models, cv.json, README.md and plots/ are in {place}")


def prepare(args: Arguments) -> tuple[Scored, dict[str, Any]]:
    """Read and check every row, take the folder, and return which rows each model is validated on."""
    data, folds = args.data, args.folds
    splits = ["train"]
    if folds.seeds or folds.soup:
        splits.append("validation")
    loaded = load_training_data(data, splits)
    if data.test_file:
        # Every row, before the folder is taken: a bad one would stop the run after hours of training.
        _, test_texts, _ = read_test_rows(data, loaded.task)
        warn_of_known_test_texts(loaded, test_texts)
    if folds.seeds:
        scored = scored_by_seeds(member_names(args), loaded.validation, data.id_column)
        take_folder(args, loaded)
        return scored, {"seeds": folds.seeds}
    rows = list(loaded.train)
    if folds.soup:
        # Every fold has trained on most of these rows: a soup of folds needs others to be judged on.
        text_column = loaded.task.required_columns(data.text_column, ())[0]
        check_unseen(rows, loaded.validation, text_column)
    table = take_folder(args, loaded)
    assert table is not None, "only seeds have no table"
    strategy = table.division.fold_strategy
    logger.info("%d rows in %d folds (%s)", len(rows), folds.folds, strategy)
    return scored_by_folds(table, rows), asdict(table.division)


def warn_of_known_test_texts(loaded: TrainingData, test_texts: Sequence[Any]) -> None:
    """Warn of test rows whose text is in the training file: each fold's own warning is in its log only."""
    task = loaded.task
    train_texts, _ = texts_and_labels(loaded.train, loaded.flags.text_column, task)
    indices = {
        "train": index_of_texts(task.as_text(text) for text in train_texts),
        "test": index_of_texts(task.as_text(text) for text in test_texts),
    }
    warn_of_shared_texts(indices)


def check_unseen(rows: list[Row], judges: list[Row], column: str) -> None:
    """Raise `UserError` when rows that judge a soup are among those the folds train on."""
    seen = {normalised(str(row.values[column])) for row in rows}
    for row in judges:
        if normalised(str(row.values[column])) in seen:
            raise UserError(
                f"{row.where}: the text is in the training rows too, so it cannot judge a soup of the folds"
            )
