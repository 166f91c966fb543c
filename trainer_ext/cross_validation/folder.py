"""The folder of all folds or seeds: refused when it holds another run or other data; checked first, then written.

`folds.json` (`seeds.json`) in it says from which rows the models are made, and which models there are.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved, write_resolved
from trainer_ext.cross_validation.members import (
    as_member,
    check_same_run,
    comparable,
    fold_table,
    is_whole,
)
from trainer_ext.data.dataset import load_rows, training_task
from trainer_ext.data.fold_table import FoldTable, rows_hash
from trainer_ext.data.io.readers import Row
from trainer_ext.data.streaming import rows_of
from trainer_ext.errors import UserError
from trainer_ext.files import check_folder, read_json, write_json
from trainer_ext.inference.members import MEMBER
from trainer_ext.locks import file_lock
from trainer_ext.runs.checkpoints import checkpoints
from trainer_ext.runs.output_dir import (
    FILES,
    check_may_be_cleared,
    check_not_foreign,
    clear,
    is_ours,
    mark,
)
from trainer_ext.tasks import Task
from trainer_ext.tracking.run import RUN_FILE

JOINED = (
    "oof.csv",
    "validation.csv",
    "cv.json",
    "submission.csv",
    "test_metrics.json",
    "README.md",
    RUN_FILE,
)
MADE_FROM = ("folds.csv", "folds.json", "seeds.json")
WRITTEN = ("resolved_config.yaml", *JOINED, *MADE_FROM)
OF_MEMBER = ("validation_outputs.npz", "history.json", "train.log", ".lock", RUN_FILE)
ANEW = "Give another output_dir, or --overwrite_output_dir true to begin anew"


def training_rows(args: Arguments) -> tuple[Iterable[Row], Task]:
    """All rows of the training file, and the task with the classes in them."""
    rows = rows_of(args.data, "train")
    return rows, training_task(rows, args.data)


def claim_for_member(args: Arguments) -> None:
    """Take up the folder for one fold or seed."""
    rows, task = training_rows(args)
    claim(args, rows, load_rows(args.data, "validation") if args.folds.seeds else [], task)


def claim(
    args: Arguments, rows: Iterable[Row], validation: list[Row], task: Task
) -> FoldTable | None:
    """Take up the folder: new, the same run again, or cleared with `overwrite_output_dir`; writes when all is checked.

    Returns:
        The fold file; None for seeds, whose validation rows are `validation`.

    Raises:
        UserError: when it holds a plain run, one with other flags or of other rows, or when rows cannot be divided.
    """
    folder = Path(args.training.output_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir {folder} is a file")
    check_folder("output_dir", folder)
    with one_at_a_time(folder):
        return check_and_write(args, rows, validation, task)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let processes that begin at the same time (`--seeds 1` and `--seeds 2`) read what the one before has written.

    Nothing of it is left behind, also not a folder that was only made for it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with file_lock(folder / ".claim.lock", keep=False):
            yield
    finally:
        for path in made:
            with suppress(OSError):  # it is not empty: the run has begun
                path.rmdir()


def check_and_write(
    args: Arguments, rows: Iterable[Row], validation: list[Row], task: Task
) -> FoldTable | None:
    """What `claim` does, while no other process does it."""
    folder, overwrite = Path(args.training.output_dir), args.training.overwrite_output_dir
    others = [] if is_whole(args) else other_members(args)
    anew = overwrite and not others
    if not anew and ((folder / "config.json").exists() or checkpoints(folder)):
        raise UserError(
            f"output_dir {folder} already holds a run of one model: give another folder"
        )
    if not is_ours(folder):
        check_not_foreign(folder, WRITTEN)
    try:
        with TemporaryDirectory() as scratch:  # what is there stays until the rows are divided
            known = not anew and check_same_run(folder, comparable(resolved(args)))
            place = Path(scratch) if anew else folder
            if args.folds.seeds:
                table = claim_seeds(place, args, seeds_of(rows, validation, args, task))
            else:
                table = fold_table(args, rows, task, place)
            if anew:
                if is_ours(folder):
                    check_may_be_cleared(folder)
                clear_all(folder, members=is_whole(args))
                folder.mkdir(parents=True, exist_ok=True)
                for path in place.iterdir():
                    shutil.copy(path, folder)
    except UserError as error:
        if overwrite and others:
            raise UserError(
                f"{error}: all of them at once, since {others[0].name} is there too"
            ) from None
        raise
    if overwrite and others:
        remove(folder, JOINED)  # what they were with the model that is trained again
    mark(folder, WRITTEN)
    if not known or is_whole(args):
        write_resolved(whole(args), folder)
    return table


def other_members(args: Arguments) -> list[Path]:
    """Folds or seeds in the folder beside the one that `args` train, finished or not."""
    own = Path(as_member(args).training.output_dir)
    return [path for path in members_in(own.parent) if path.name != own.name and is_trained(path)]


def members_in(folder: Path) -> list[Path]:
    """Folders of folds or seeds."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and MEMBER.fullmatch(path.name))


def is_trained(folder: Path) -> bool:
    """Whether a training has begun to leave something there."""
    return (folder / "config.json").is_file() or bool(checkpoints(folder))


def seeds_of(
    rows: Iterable[Row], validation: list[Row], args: Arguments, task: Task
) -> dict[str, Any]:
    """What seeds.json says: a hash of the training and of the validation rows, in order, and the seeds."""

    def sha256(part: Iterable[Row]) -> str:
        return rows_hash(
            part, (str(row.values.get(args.data.id_column)) for row in part), args.data, task, None
        )

    return {
        "train_sha256": sha256(rows),
        "validation_sha256": sha256(validation),
        "validation_rows": len(validation),
        "seeds": list(args.folds.seeds),
    }


def claim_seeds(folder: Path, args: Arguments, about: dict[str, Any]) -> None:
    """Write seeds.json, or check that the one in the folder is of the same rows and of no other seeds.

    Raises:
        UserError: for other rows, and for seeds that would stay in the folder without being part of the whole.
    """
    path = folder / "seeds.json"
    before = read_json(path) if path.is_file() else {"seeds": []}
    for key, what in (("train_sha256", "training rows"), ("validation_sha256", "validation rows")):
        if before.get(key, about[key]) != about[key]:
            raise UserError(
                f"{folder} holds seeds with other {what}: models of other data must not be mixed. {ANEW}"
            )
    there, asked = before["seeds"], about["seeds"]
    more = [seed for seed in asked if seed not in there]
    joined = (folder / "cv.json").is_file()
    if (set(there) - set(asked)) if is_whole(args) else (more and joined):
        named = " ".join(map(str, [*there, *more]))
        raise UserError(
            f"{folder} holds the seeds {', '.join(map(str, there))}: name all, --seeds {named}. {ANEW}"
        )
    write_json(path, about | {"seeds": asked if is_whole(args) else [*there, *more]})


def whole(args: Arguments) -> Arguments:
    """The run of all folds that a fold belongs to."""
    given = {key: value for key, value in args.given.items() if key != "fold"}
    return replace(args, folds=replace(args.folds, fold=None), given=given)


def clear_all(folder: Path, members: bool) -> None:
    """Remove what an earlier run left, and only that; with `members` its models too (one by itself clears its own)."""
    clear(folder)
    remove(folder, (*JOINED, *MADE_FROM))
    for path in (*members_in(folder), folder / "soup") if members else ():
        clear(path, FILES)
        remove(path, OF_MEMBER)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files that may be there."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
