"""One trial: a run of train.py in a process of its own, watched, and ended early if others were better by then."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import parse_values, resolved
from trainer_ext.arguments.recipe import RESOLVED_HEADER
from trainer_ext.cross_validation.launchers.base import PROGRESS_FILE, Job, Launcher, Training
from trainer_ext.cross_validation.launchers.base import end as end_trainings
from trainer_ext.cross_validation.members import member_names
from trainer_ext.cross_validation.progress import read_progress
from trainer_ext.files import read_json, write_text
from trainer_ext.runs.checkpoints import checkpoints
from trainer_ext.tracking.artifacts.store import ROOT_VARIABLE

LOOK_AGAIN = 0.5  # seconds between two looks at a trial
RECIPE = "recipe.yaml"
ARTIFACTS = "artifacts"
# Of the recipe, what is done once, with the best model, and not in each trial.
NOT_IN_TRIALS = ("push_to_hub", "search", "search_trials")

logger = logging.getLogger(__name__)

Keep = Callable[[int, float], bool]
"""Told an evaluation's number and its metric, answers whether the trial should go on."""


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
        status: exit status of its process.
        pruned: whether it was ended because others were better.
    """

    status: int
    pruned: bool = False


def recipe_of(args: Arguments, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the recipe of a run with the values of a trial.

    Args:
        args: of the search.
        values: flags that the trial sets.
        folder: of the run.

    Raises:
        UserError: if the values contradict each other.
    """
    recipe = resolved(args)
    for name in ("search", "search_trials"):
        recipe.pop(name, None)
    return resolved(parse_values(recipe, {**values, "output_dir": str(folder)}))


def job_of(args: Arguments, values: Mapping[str, Any], folder: Path) -> Job:
    """Write the recipe of a trial into its folder; return what trains it.

    Raises:
        UserError: if the values contradict each other.
    """
    recipe = recipe_of(args, values, folder)
    for name in NOT_IN_TRIALS:
        recipe.pop(name, None)
    # The search is one run there; a run for each trial would hide it.
    recipe["report_to"] = "none"
    write_recipe(folder / RECIPE, recipe)
    words = [str(folder / RECIPE)]
    if args.folds.folds or args.folds.seeds:
        # On a cluster too: a trial is one task, which trains its folds on its node.
        words += ["--num_fold_workers", str(args.folds.num_fold_workers)]
    else:
        # A trial that was cut off goes on; folds do so by themselves.
        words += ["--resume_from_checkpoint", "true"]
    if args.training.use_cpu:
        words += ["--use_cpu", "true"]
    # Models of trials are no versions of anything: they stay out of the user's store.
    environment = {ROOT_VARIABLE: str((folder / ARTIFACTS).absolute())}
    if args.training.hub_token:
        environment["HF_TOKEN"] = args.training.hub_token
    return Job(tuple(words), folder, environment)


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a recipe that train.py runs as it is."""
    text = yaml.safe_dump(dict(recipe), allow_unicode=True, sort_keys=False, width=float("inf"))
    write_text(path, RESOLVED_HEADER + text)


def run_trial(
    job: Job,
    launcher: Launcher,
    args: Arguments,
    metric: str,
    keep: Keep,
    running: list[Training],
) -> Ended:
    """Train, and look at every evaluation.

    Args:
        job: of the trial.
        launcher: starts it.
        args: of the search.
        metric: that is looked at.
        keep: decides after each evaluation.
        running: holds the training from its start on, for whoever has to end it.
    """
    told = 0
    with launcher.start(job) as training:
        running.append(training)
        while training.poll() is None:
            time.sleep(LOOK_AGAIN)
            evaluations = evaluations_of(job.folder, args, metric)
            for number, value in enumerate(evaluations[told:], told + 1):
                told = number
                if not keep(number, value) and training.poll() is None:
                    end_trainings([training])
                    return Ended(training.wait(), pruned=True)
        return Ended(training.wait())


def evaluations_of(folder: Path, args: Arguments, metric: str) -> list[float]:
    """Return the metric of each evaluation so far; with folds or seeds the mean of those that are finished."""
    values: list[float] = []
    if not (args.folds.folds or args.folds.seeds):
        # A run that goes on repeats the evaluations behind its last checkpoint.
        by_step: dict[int, float] = {}
        for line in read_progress(folder / PROGRESS_FILE):
            if f"eval_{metric}" in line["metrics"]:
                by_step[line["step"]] = line["metrics"][f"eval_{metric}"]
        return list(by_step.values())
    for name in member_names(args):
        path = folder / name / "metrics.json"
        if path.exists():
            values.append(read_json(path)[f"eval_{metric}"])
    return [sum(values[:count]) / count for count in range(1, len(values) + 1)]


def scores_of(folder: Path, args: Arguments) -> dict[str, float]:
    """Return `eval_*` of a finished trial, out of fold if there are folds, and `test_*` if there are test rows."""
    if not (args.folds.folds or args.folds.seeds):
        return read_json(folder / "metrics.json")
    summary = read_json(folder / "cv.json")
    # Of seeds the mean: all together they are an ensemble, which is not what is trained in the end.
    part = "oof" if args.folds.folds else "mean"
    scores = {f"eval_{name}": value for name, value in summary[part].items()}
    tested = {f"test_{name}": value for name, value in summary.get("test", {}).items()}
    return {**scores, **tested}


def remove_models(folder: Path) -> None:
    """Remove the weights of a trial that is not the best, and keep what says how good it was."""
    for path in [folder, *folder.glob("fold-*"), *folder.glob("seed-*")]:
        for weights in path.glob("*.safetensors"):
            weights.unlink()
    remove_checkpoints(folder)


def remove_checkpoints(folder: Path) -> None:
    """Remove what only a training that goes on needs."""
    for path in [folder, *folder.glob("fold-*"), *folder.glob("seed-*")]:
        for checkpoint in checkpoints(path):
            shutil.rmtree(checkpoint)
    shutil.rmtree(folder / ARTIFACTS, ignore_errors=True)
