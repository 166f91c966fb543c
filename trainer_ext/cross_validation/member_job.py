"""Train one fold or seed in this process: the job of one model, with the member's rows, folder and seed."""

from functools import partial
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.folder import take_folder
from trainer_ext.cross_validation.members import as_member, is_finished
from trainer_ext.cross_validation.test_rows import has_test_labels
from trainer_ext.data.training_data import load_training_data
from trainer_ext.errors import stage
from trainer_ext.evaluation.outputs import save_history
from trainer_ext.files import read_json
from trainer_ext.processes import entered_by_main, main_first, on_main
from trainer_ext.runs.output_dir import locked
from trainer_ext.tracking.artifacts.publish import put_if_missing
from trainer_ext.training.finished import Finished
from trainer_ext.training.job import UNCHANGED, Changes, train_model


def train_member(
    args: Arguments,
    changes: Changes = UNCHANGED,
) -> dict[str, float]:
    """Train one fold or seed in its own folder, or resume it where it was cut off; returns its metrics.json."""
    with stage("while reading the rows and building the model"):
        data = main_first(partial(load_training_data, args.data, splits_of(args)))
    # The main process alone writes the division; the others are sent it.
    table = on_main(partial(take_folder, args, data))
    member = as_member(args)
    folder = Path(member.training.output_dir)
    with entered_by_main(partial(locked, folder)):
        if on_main(partial(is_finished, folder, member)) and not args.training.overwrite_output_dir:
            return on_main(partial(keep_finished, args, folder))
        if table is not None and args.folds.fold is not None:
            data = data.of_fold(table, args.folds.fold)
        # The rows are read already: what the job calls to load them gives them back.
        return train_model(member, lambda: data, changes, keep_history)


def splits_of(args: Arguments) -> list[str]:
    """Return the splits that a fold or seed reads.

    A fold is validated on its own rows. Test rows without labels are predicted by all models together.
    """
    splits = ["train"]
    if args.folds.seeds:
        splits.append("validation")
    if args.data.test_file is None or has_test_labels(args.data):
        splits.append("test")
    return splits


def keep_finished(args: Arguments, folder: Path) -> dict[str, float]:
    """Return the metrics of a fold or seed that was finished before."""
    print(f"{folder} is finished; --overwrite_output_dir true trains it again")
    put_if_missing(args, folder.name)
    return read_json(folder / "metrics.json")


def keep_history(finished: Finished) -> None:
    """Save what the curves of all models are drawn from, before the fold or seed counts as finished."""
    save_history(finished.folder, finished.history)
