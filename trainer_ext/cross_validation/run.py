"""All folds (or seeds) of a run, from the fold file to the table of scores."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.card import summary_table, write_card
from trainer_ext.cross_validation.folder import take_folder
from trainer_ext.cross_validation.members import member_names
from trainer_ext.cross_validation.outputs import load_history
from trainer_ext.cross_validation.summary import Scored, scored_by_folds, scored_by_seeds, summarise
from trainer_ext.cross_validation.test_rows import read_test_rows
from trainer_ext.cross_validation.train_members import run_command, train_members
from trainer_ext.data.duplicates import normalised
from trainer_ext.data.io.readers import Row
from trainer_ext.data.training_data import load_training_data
from trainer_ext.errors import UserError
from trainer_ext.files import read_json, write_json
from trainer_ext.reports import plots
from trainer_ext.tracking.artifacts.publish import put_if_missing
from trainer_ext.tracking.fold_summary import log_evaluation


def run_members(args: Arguments) -> dict[str, float]:
    """Train every fold or seed that is not finished, then join their predictions.

    Returns:
        `oof_*` (for seeds `ensemble_*`), `mean_*` and `std_*`, which are in cv.json too.

    Raises:
        UserError: for bad flags or rows, and for a folder that holds another run or other data.
        RunError: when a fold failed.
    """
    if args.training.world_size > 1:
        raise UserError(
            "folds and seeds start their own processes: run them without torchrun or accelerate launch"
        )
    folder = Path(args.training.output_dir)
    scored, about = prepare(args)
    train_members(args)
    summary = summarise(args, scored, about)
    if args.data.test_file:
        run_command("submission", [str(folder)], folder / "submission.log")
        if (folder / "test_metrics.json").is_file():
            summary["test"] = read_json(folder / "test_metrics.json")
            write_json(folder / "cv.json", summary)
    if args.folds.soup:
        run_command("soup", [str(folder)], folder / "soup.log")
        summary["soup"] = read_json(folder / "soup" / "soup.json")
        write_json(folder / "cv.json", summary)
        put_if_missing(args, "soup")
    histories = {name: load_history(folder / name) for name in scored.parts}
    plots.fold_curves(histories, summary["metric"], folder / "plots" / "learning_curves.png")
    write_card(folder, args, summary)
    log_evaluation(args, summary, folder / ("validation.csv" if args.folds.seeds else "oof.csv"))
    print(f"\n{summary_table(summary)}")
    if args.folds.folds and args.model.calibrate in ("thresholds", "both"):
        print(
            "Rows out of fold are decided with what the other folds fit; a fold's own metrics.json with its own fit."
        )
    print(f"\nThe models, cv.json, README.md and plots/ are in {folder}")
    together = "ensemble" if args.folds.seeds else "oof"
    return {
        f"{part}_{name}": value
        for part in (together, "mean", "std")
        for name, value in summary[part].items()
    }


def prepare(args: Arguments) -> tuple[Scored, dict[str, Any]]:
    """Read and check every row, take the folder, and return which rows each model is validated on."""
    data, folds = args.data, args.folds
    splits = ["train"]
    if folds.seeds or folds.soup:
        splits.append("validation")
    loaded = load_training_data(data, splits)
    if data.test_file:
        read_test_rows(data, loaded.task)
    if folds.seeds:
        scored = scored_by_seeds(member_names(args), loaded.validation, data.id_column)
        take_folder(args, loaded)
        return scored, {"seeds": folds.seeds}
    rows = list(loaded.train)
    if folds.soup:
        text_column = loaded.task.required_columns(data.text_column, ())[0]
        check_unseen(rows, loaded.validation, text_column)
    table = take_folder(args, loaded)
    print(f"{len(rows)} rows in {folds.folds} folds ({table.division.fold_strategy})", flush=True)
    return scored_by_folds(table, rows), asdict(table.division)


def check_unseen(rows: list[Row], judges: list[Row], column: str) -> None:
    """Raise `UserError` when rows that judge a soup are among those the folds train on."""
    seen = {normalised(str(row.values[column])) for row in rows}
    for row in judges:
        if normalised(str(row.values[column])) in seen:
            raise UserError(
                f"{row.where}: the text is in the training rows too, so it cannot judge a soup of the folds"
            )
