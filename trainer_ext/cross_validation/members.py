"""What one fold (or seed) of a run is: its name, folder and seed, and whether it is finished."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved
from trainer_ext.data.fold_table import FoldTable, claim_folds
from trainer_ext.data.io.readers import Row
from trainer_ext.errors import UserError, describe_error
from trainer_ext.tasks import Task

# Which part of the whole is trained, and what follows the training, is not what the models are.
NOT_COMPARED = {"fold", "seeds", "soup"}
SEED_STEP = 1_000_003


def has_members(args: Arguments) -> bool:
    """Whether the output folder holds folds or seeds instead of one model."""
    return bool(args.folds.folds or args.folds.seeds)


def is_whole(args: Arguments) -> bool:
    """Whether all folds or seeds are asked for; else one of them, or a plain run."""
    return has_members(args) and args.folds.fold is None and len(args.folds.seeds or [0, 0]) > 1


def member_names(args: Arguments) -> list[str]:
    """`fold-0`, ... or `seed-42`, ... in order."""
    if args.folds.folds:
        return [f"fold-{k}" for k in range(args.folds.folds * args.folds.fold_repeats)]
    return [f"seed-{seed}" for seed in args.folds.seeds]


def member_flags(name: str) -> list[str]:
    """What `train.py RECIPE` is given beside to train this member only."""
    kind, number = name.split("-")
    return [f"--{kind}" if kind == "fold" else "--seeds", number]


def fold_seed(seed: int, fold: int) -> int:
    """The seed of a fold's model; fold 0 has the run's own."""
    return (seed + SEED_STEP * fold) % 2**32


def as_member(args: Arguments) -> Arguments:
    """The arguments with which one fold (or seed) trains: in its own folder, with its own seed, resuming by itself.

    What is written to resolved_config.yaml stays the command that made it: `output_dir` is the folder of all.
    """
    fold, training = args.folds.fold, copy.copy(args.training)
    number = args.folds.seeds[0] if fold is None else fold
    training.output_dir = str(
        Path(training.output_dir) / f"{'seed' if fold is None else 'fold'}-{number}"
    )
    training.seed = number if fold is None else fold_seed(training.seed, fold)
    training.logging_dir = str(Path(training.output_dir) / "runs")
    if not training.overwrite_output_dir:
        training.resume_from_checkpoint = "true"
    given = {**args.given, "seed": args.training.seed}
    return replace(args, training=training, given=given)


def comparable(values: dict[str, Any]) -> dict[str, Any]:
    """Resolved flags as YAML reads them back, without those that may differ between parts of one run."""
    values = yaml.safe_load(yaml.safe_dump(values))
    unused = (
        {"validation_file"} if values.get("folds") else set()
    )  # folds have rows of their own; it judges a soup
    return {key: value for key, value in values.items() if key not in NOT_COMPARED | unused}


def read_resolved(folder: Path) -> dict[str, Any] | None:
    """The resolved flags in a folder; None when there are none."""
    try:
        values = yaml.safe_load((folder / "resolved_config.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{folder / 'resolved_config.yaml'} cannot be read: {describe_error(error)}"
        ) from error
    return values if isinstance(values, dict) else {}


def check_same_run(folder: Path, values: dict[str, Any]) -> bool:
    """Whether the folder holds this very run; False when it holds none.

    Raises:
        UserError: when it holds another one, naming the first flag that differs and both values.
    """
    before = read_resolved(folder)
    if before is None:
        return False
    before = comparable(before)
    for key in {**before, **values}:
        if before.get(key) != values.get(key):
            raise UserError(
                f"{folder} holds another run: its {key} is {before.get(key)}, now it is {values.get(key)}. "
                "Give another output_dir, or --overwrite_output_dir true to begin anew"
            )
    return True


def is_finished(folder: Path, args: Arguments) -> bool:
    """Whether a fold (or seed) is complete: metrics.json is written last.

    Raises:
        UserError: when it was made with other flags.
    """
    return (folder / "metrics.json").is_file() and check_same_run(
        folder, comparable(resolved(args))
    )


def fold_rows(args: Arguments, rows: list[Row], task: Task) -> dict[str, list[Row]]:
    """The training and the validation part of one fold; `args` are those of `as_member`."""
    table = fold_table(args, rows, task, Path(args.training.output_dir).parent)
    fold = args.folds.fold
    return {
        "train": [rows[k] for k in table.training_rows(fold)],
        "validation": [rows[k] for k in table.validation_rows(fold)],
    }


def fold_table(args: Arguments, rows: list[Row], task: Task, folder: Path) -> FoldTable:
    """The fold file of a run, made when it is not there yet."""
    return claim_folds(
        folder, args.folds, args.data, rows, task, args.given.get("seed", args.training.seed)
    )
