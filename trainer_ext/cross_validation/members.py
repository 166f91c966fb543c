"""Which models the folder of folds or seeds has: their names, folders and seeds, and which of them are finished."""

import copy
from dataclasses import replace
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved
from trainer_ext.inference.members import MEMBER
from trainer_ext.runs.checkpoints import checkpoints
from trainer_ext.runs.same_run import check_same_run

SEED_STEP = 1_000_003  # a prime: the seeds of folds do not meet those of neighbouring base seeds


def has_members(args: Arguments) -> bool:
    """Return whether the output folder holds folds or seeds instead of one model."""
    return bool(args.folds.folds or args.folds.seeds)


def trains_all(args: Arguments) -> bool:
    """Return whether all folds or seeds are asked for, rather than one of them or a plain run."""
    if args.folds.folds:
        return args.folds.fold is None
    return len(args.folds.seeds or ()) > 1


def member_names(args: Arguments) -> list[str]:
    """Return `fold-0`, ... or `seed-42`, ... in order."""
    if args.folds.folds:
        models = args.folds.folds * args.folds.fold_repeats
        return [f"fold-{k}" for k in range(models)]
    return [f"seed-{seed}" for seed in args.folds.seeds or ()]


def member_flags(name: str) -> list[str]:
    """Return the flags that, beside the recipe, let `train.py` train this model only."""
    kind, number = name.split("-")
    if kind == "fold":
        return ["--fold", number]
    return ["--seeds", number]


def fold_seed(seed: int, fold: int) -> int:
    """Return the seed of a fold's model; fold 0 has the run's own."""
    return (seed + SEED_STEP * fold) % 2**32


def as_member(args: Arguments) -> Arguments:
    """Return the arguments with which one fold (or seed) trains: its own folder and seed, resuming by itself.

    What is written to resolved_config.yaml stays the command that made it: `output_dir` is the folder of all.
    """
    # A shallow copy: TrainingArguments made anew would set up devices and environment again.
    training = copy.copy(args.training)
    if args.folds.fold is not None:
        training.seed = fold_seed(training.seed, args.folds.fold)
        name = f"fold-{args.folds.fold}"
    elif args.folds.seeds:
        training.seed = args.folds.seeds[0]
        name = f"seed-{training.seed}"
    else:
        raise ValueError("neither a fold nor a seed is asked for")
    training.output_dir = str(Path(training.output_dir) / name)
    training.logging_dir = str(Path(training.output_dir) / "runs")
    # Else all models would be one run of a tracker, and one repository of the Hub.
    whole = Path(args.training.output_dir).resolve().name
    training.run_name = f"{training.run_name or whole}-{name}"
    if training.push_to_hub:
        training.hub_model_id = f"{training.hub_model_id or whole}-{name}"
    # The same command again goes on with what was cut off, without a flag.
    if not training.overwrite_output_dir:
        training.resume_from_checkpoint = "true"
    given = {**args.given, "seed": args.training.seed}
    return replace(args, training=training, given=given)


def in_folder(args: Arguments, folder: Path) -> Arguments:
    """Return the arguments with which a run at a URL trains in a folder; its recipe keeps the URL."""
    training = copy.copy(args.training)
    training.output_dir = str(folder)
    training.logging_dir = str(folder / "runs")
    return replace(args, training=training)


def as_whole(args: Arguments) -> Arguments:
    """Return the arguments of the run of all folds that one fold belongs to."""
    given = dict(args.given)
    given.pop("fold", None)
    folds = replace(args.folds, fold=None)
    return replace(args, folds=folds, given=given)


def members_in(folder: Path) -> list[Path]:
    """Return the folders of folds or seeds, finished or not."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and MEMBER.fullmatch(path.name):
            found.append(path)
    return found


def other_members(args: Arguments) -> list[Path]:
    """Return the trained folds or seeds in the folder beside the one that `args` train."""
    own = Path(as_member(args).training.output_dir)
    others = []
    for path in members_in(own.parent):
        if path.name != own.name and is_begun(path):
            others.append(path)
    return others


def is_begun(folder: Path) -> bool:
    """Return whether a training has begun to leave something there."""
    return (folder / "config.json").is_file() or bool(checkpoints(folder))


def is_finished(folder: Path, args: Arguments) -> bool:
    """Return whether a fold (or seed) is complete: metrics.json is written last.

    Raises:
        UserError: when it was made with other flags.
    """
    if not (folder / "metrics.json").is_file():
        return False
    return check_same_run(folder, resolved(args))
