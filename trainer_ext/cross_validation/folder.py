"""Who owns the folder of all folds or seeds: it is refused when it holds another run or other data.

`folds.json` (`seeds.json`) in it records from which rows the models are made, and which models there are. Everything is
checked before anything is written.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved, write_resolved
from trainer_ext.cross_validation.members import as_whole, members_in, other_members, trains_all
from trainer_ext.data.fold_table import FoldTable, fold_table_in
from trainer_ext.data.row_hash import raw_rows_sha256
from trainer_ext.data.training_data import Rows, TrainingData
from trainer_ext.errors import UserError
from trainer_ext.files import check_folder, read_json, write_json
from trainer_ext.locks import file_lock
from trainer_ext.runs.checkpoints import checkpoints
from trainer_ext.runs.output_dir import (
    FILES,
    PLOTS,
    REPORT,
    check_may_be_cleared,
    check_not_foreign,
    clear,
    is_ours,
    mark,
)
from trainer_ext.runs.same_run import START_OVER, check_same_run
from trainer_ext.tracking.run import RUN_FILE

JOINED = (
    "oof.csv",
    "validation.csv",
    "cv.json",
    "submission.csv",
    "test_metrics.json",
    "README.md",
    *REPORT,
    *(f"plots/{name}.png" for name in PLOTS),
    RUN_FILE,
)
MADE_FROM = ("folds.csv", "folds.json", "seeds.json")
WRITTEN = ("resolved_config.yaml", *JOINED, *MADE_FROM)
OF_MEMBER = ("history.json", "train.log", "progress.jsonl", ".lock", RUN_FILE)


class Seeds(TypedDict):
    """The content of seeds.json: a hash of the training and of the validation rows, and the seeds."""

    train_sha256: str
    validation_sha256: str
    validation_rows: int
    seeds: list[int]


def take_folder(args: Arguments, data: TrainingData) -> FoldTable | None:
    """Take the folder: new, of the same run, or cleared with `overwrite_output_dir`.

    Returns:
        The division into folds; None for seeds, which are all validated on the same rows.

    Raises:
        UserError: when it holds a run of one model, one with other flags or of other rows, or when the rows cannot be
            divided.
    """
    folder = Path(args.training.output_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir {folder} is a file")
    check_folder("output_dir", folder)
    # Two members may begin at the same time; what one checks, the other must not be writing.
    with one_at_a_time(folder):
        return check_and_write(args, data)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let processes that begin at the same time (`--fold 1` and `--fold 2`) read what the one before has written.

    The lock leaves nothing behind, not even a folder that was only made for it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with file_lock(folder / ".claim.lock", keep=False):
            yield
    finally:
        for path in made:
            with suppress(OSError):  # it is not empty: the run has begun
                path.rmdir()


def check_and_write(args: Arguments, data: TrainingData) -> FoldTable | None:
    """Do what `take_folder` does, while no other process does it."""
    folder = Path(args.training.output_dir)
    overwrite = args.training.overwrite_output_dir
    others = [] if trains_all(args) else other_members(args)
    # One model trained again must not change the rows of those beside it.
    begins_anew = overwrite and not others
    if not begins_anew and ((folder / "config.json").exists() or checkpoints(folder)):
        raise UserError(
            f"output_dir {folder} already holds a run of one model: give another folder"
        )
    if not is_ours(folder):
        check_not_foreign(folder, WRITTEN)
    is_known = False
    try:
        if begins_anew:
            table = replace_run(args, data)
        else:
            is_known = check_same_run(folder, resolved(args))
            table = write_division(args, data, folder)
    except UserError as error:
        if overwrite and others:
            raise UserError(
                f"{error}: all of them at once, since {others[0].name} is there too"
            ) from None
        raise
    if overwrite and others:
        # They describe the model that is now trained again.
        remove(folder, JOINED)
    mark(folder, WRITTEN)
    if trains_all(args) or not is_known:
        write_resolved(as_whole(args), folder)
    return table


def replace_run(args: Arguments, data: TrainingData) -> FoldTable | None:
    """Divide the rows, then clear the folder; rows that cannot be divided leave it as it was."""
    folder = Path(args.training.output_dir)
    # Elsewhere first: the folder is cleared only when nothing can be refused any more.
    with TemporaryDirectory() as scratch:
        table = write_division(args, data, Path(scratch))
        if is_ours(folder):
            check_may_be_cleared(folder)
        clear_all(folder, with_members=trains_all(args))
        folder.mkdir(parents=True, exist_ok=True)
        for path in Path(scratch).iterdir():
            shutil.copy(path, folder)
    return table


def write_division(args: Arguments, data: TrainingData, folder: Path) -> FoldTable | None:
    """Write into `folder` which rows the models are made from, or check that it holds the same already."""
    if args.folds.seeds:
        write_seeds(folder, args, seeds_record(args, data))
        return None
    # A list: folds need every row at once, so that streamed ones are held here.
    rows = list(data.train)
    return fold_table_in(folder, args.folds, args.data, rows, data.task, args.training.seed)


def seeds_record(args: Arguments, data: TrainingData) -> Seeds:
    """Return what seeds.json holds; the order of the rows counts."""

    column = args.data.id_column

    def sha256_of(rows: Rows) -> str:
        # Without an id column "None" is the id of every row: hashes have been recorded like this from the start.
        ids = (str(row.values.get(column) if column else None) for row in rows)
        return raw_rows_sha256(rows, ids, args.data, data.task)

    return {
        "train_sha256": sha256_of(data.train),
        "validation_sha256": sha256_of(data.validation),
        "validation_rows": len(data.validation),
        "seeds": list(args.folds.seeds or ()),
    }


def write_seeds(folder: Path, args: Arguments, record: Seeds) -> None:
    """Write seeds.json, or check that the one in the folder is of the same rows and fits the seeds.

    Raises:
        UserError: for other rows, for one seed that is not on the list, and for a list that leaves out a seed.
    """
    path = folder / "seeds.json"
    if not path.is_file():
        write_json(path, record)
        return
    before = read_json(path)
    hashes = {
        "training": ("train_sha256", record["train_sha256"]),
        "validation": ("validation_sha256", record["validation_sha256"]),
    }
    for split, (key, sha256) in hashes.items():
        if before.get(key, sha256) != sha256:
            raise UserError(
                f"{folder} holds seeds with other {split} rows: models of other data must not be mixed. {START_OVER}"
            )
    listed, asked = before["seeds"], record["seeds"]
    missing = [seed for seed in asked if seed not in listed]
    # The whole may grow, but no seed may stay in the folder without being part of it.
    is_refused = bool(set(listed) - set(asked)) if trains_all(args) else bool(missing)
    if is_refused:
        everything = " ".join(map(str, [*listed, *missing]))
        raise UserError(
            f"{folder} holds the seeds {', '.join(map(str, listed))}: name all, --seeds {everything}. {START_OVER}"
        )
    if trains_all(args):
        write_json(path, record)


def clear_all(folder: Path, with_members: bool) -> None:
    """Remove what an earlier run left, and only that.

    Args:
        folder: of all folds or seeds.
        with_members: also remove its models; one that is trained by itself clears its own folder later.
    """
    clear(folder)
    remove(folder, (*JOINED, *MADE_FROM))
    if not with_members:
        return
    for path in (*members_in(folder), folder / "soup"):
        clear(path, FILES)
        remove(path, OF_MEMBER)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files that may be there."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
